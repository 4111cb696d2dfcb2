//! Building for bare metal: the target's standard library, found, fetched or compiled from source.
//!
//! The ways, in the order in which they are tried:
//!
//! 1. the target is installed;
//! 2. the standard library's source is there, from which it is built;
//! 3. rustup adds the target, or else the source;
//! 4. the source comes from Debian's archive, as the package of the same version as the compiler.

pub(crate) mod archive;
pub(crate) mod download;
mod package;
mod rust_source;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::run::{self, Error, cargo, check, say};

/// The bare-metal target: no operating system, no floating point.
pub(crate) const TARGET: &str = "x86_64-unknown-none";

/// Crates that any kernel can embed.
const EMBEDDABLE: [&str; 7] = [
    "hypercall",
    "vmbus-core",
    "vsc-storage",
    "vsc-net",
    "vsc-video",
    "vsc-input",
    "ic-services",
];

/// How long rustup may take before another way is tried.
const RUSTUP_LIMIT: Duration = Duration::from_secs(180);

/// How the target's standard library comes into being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BareMetal {
    /// It is installed, compiled.
    Installed,
    /// Its source is there: each build compiles it, once.
    FromSource,
}

impl BareMetal {
    /// A cargo command that builds for the target. It has a folder of its own: its settings would otherwise have
    /// cargo rebuild the host's part each time.
    pub(crate) fn cargo(self, command: &str) -> Command {
        let mut cargo = cargo();
        cargo.arg(command).args(["--target", TARGET]);
        cargo.arg("--target-dir").arg(target_dir());
        // Flags for the host's build (of models, of fuzzers) are none of the guest's.
        cargo
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        // The image runs where it is linked to run.
        cargo.env(
            "CARGO_TARGET_X86_64_UNKNOWN_NONE_RUSTFLAGS",
            "-Crelocation-model=static",
        );
        if self == Self::FromSource {
            // Compiling the standard library is an unstable feature of an otherwise stable compiler.
            cargo.env("RUSTC_BOOTSTRAP", "1").args([
                "-Zbuild-std=core,alloc,compiler_builtins",
                "-Zbuild-std-features=compiler-builtins-mem",
            ]);
        }
        cargo
    }
}

/// Where bare-metal builds go.
pub(crate) fn target_dir() -> PathBuf {
    run::target_dir().join("bare-metal")
}

/// Makes sure that the target can be built for.
pub(crate) fn set_up() -> Result<BareMetal, Error> {
    let sysroot = PathBuf::from(output("rustc", &["--print", "sysroot"])?.trim());
    if let Some(found) = present(&sysroot) {
        return Ok(found);
    }
    let mut failures = Vec::new();
    for (step, way) in [
        ("with rustup", with_rustup as fn(&Path) -> Result<(), Error>),
        ("from Debian's archive", from_archive),
    ] {
        match way(&sysroot) {
            Ok(()) => match present(&sysroot) {
                Some(found) => return Ok(found),
                None => failures.push(format!("{step}: done, but nothing is there")),
            },
            Err(error) => {
                say(&format!("not {step}: {error}"));
                failures.push(format!("{step}: {error}"));
            }
        }
    }
    Err(Error::new(format!(
        "cannot build for {TARGET}: neither the target nor the standard library's source could be installed\n  {}",
        failures.join("\n  ")
    )))
}

/// What the toolchain already has.
fn present(sysroot: &Path) -> Option<BareMetal> {
    let compiled = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    let mut files = std::fs::read_dir(compiled).into_iter().flatten().flatten();
    if files.any(|file| file.file_name().to_string_lossy().starts_with("libcore-")) {
        return Some(BareMetal::Installed);
    }
    source(sysroot)
        .join("core/src/lib.rs")
        .is_file()
        .then_some(BareMetal::FromSource)
}

/// Where cargo looks for the standard library's source.
fn source(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib/src/rust/library")
}

fn with_rustup(_: &Path) -> Result<(), Error> {
    if !run::works("rustup", &["--version"]) {
        return Err(Error::new("rustup is not installed"));
    }
    say(&format!("adding the target {TARGET} with rustup"));
    let target = quiet_for(RUSTUP_LIMIT, "rustup", &["target", "add", TARGET]);
    target.or_else(|target| {
        say(&format!(
            "{target}; adding the standard library's source with rustup"
        ));
        quiet_for(RUSTUP_LIMIT, "rustup", &["component", "add", "rust-src"])
    })
}

fn from_archive(sysroot: &Path) -> Result<(), Error> {
    let version = compiler_version(&output("rustc", &["-V"])?)?;
    let place = source(sysroot);
    let parent = place
        .parent()
        .ok_or_else(|| Error::new("the toolchain has no place for source"))?;
    let unwritable = |error| {
        Error::new(format!(
            "the source belongs into {}: {error}",
            parent.display()
        ))
    };
    std::fs::create_dir_all(parent).map_err(unwritable)?;
    let unpacked = rust_source::rust_source(&version)?;
    // Cargo sees either no source or all of it.
    let arriving = parent.join(format!("library.arriving.{}", std::process::id()));
    check(Command::new("cp").arg("-R").arg(&unpacked).arg(&arriving))?;
    say(&format!("the source goes to {}", place.display()));
    match std::fs::rename(&arriving, &place) {
        Err(_) if present(sysroot).is_some() => {
            // Another set-up was faster.
            std::fs::remove_dir_all(&arriving)?;
            Ok(())
        }
        renamed => renamed.map_err(unwritable),
    }
}

/// `1.95.0` out of `rustc 1.95.0 (59807616e 2026-04-14)`.
fn compiler_version(text: &str) -> Result<String, Error> {
    text.split_whitespace()
        .nth(1)
        .filter(|version| version.split('.').count() == 3 && !version.contains('-'))
        .map(str::to_owned)
        .ok_or_else(|| {
            Error::new(format!(
                "`{}` is no released compiler, whose source the archive could have",
                text.trim()
            ))
        })
}

fn output(program: &str, arguments: &[&str]) -> Result<String, Error> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(run::root())
        .output()
        .map_err(|error| Error::new(format!("cannot start {program}: {error}")))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(format!("{program} failed: {}", text.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command without its output, at most so long.
fn quiet_for(limit: Duration, program: &str, arguments: &[&str]) -> Result<(), Error> {
    let name = || format!("`{program} {}`", arguments.join(" "));
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(run::root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| Error::new(format!("cannot start {}: {error}", name())))?;
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(Error::new(format!("{} failed: {status}", name()))),
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(100)),
            None => {
                child.kill()?;
                child.wait()?;
                let seconds = limit.as_secs();
                return Err(Error::new(format!("{} took over {seconds} s", name())));
            }
        }
    }
}

/// Builds the embeddable crates for bare metal, without their default features: each by itself, so that none leans on
/// the features that another asks for. Then lints the guest's machine, which is code for this target alone.
pub(crate) fn check_embeddable_crates() -> Result<(), Error> {
    let bare_metal = set_up()?;
    for package in EMBEDDABLE {
        check(bare_metal.cargo("build").args([
            "--quiet",
            "--lib",
            "--no-default-features",
            "-p",
            package,
        ]))?;
    }
    say("clippy on the bare-metal guest");
    check(bare_metal.cargo("clippy").args([
        "--quiet",
        "--release",
        "-p",
        "guest-image",
        "--",
        "-D",
        "warnings",
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_released_compilers_have_a_version() {
        let version = |text| compiler_version(text).ok();
        assert_eq!(
            version("rustc 1.95.0 (59807616e 2026-04-14)\n").as_deref(),
            Some("1.95.0")
        );
        assert_eq!(version("rustc 1.97.0-nightly (e5b1ef2c1 2026-05-18)"), None);
        assert_eq!(version(""), None);
    }

    #[test]
    fn an_empty_toolchain_has_nothing() {
        assert_eq!(present(Path::new("/nonexistent")), None);
    }

    #[test]
    fn commands_that_fail_or_take_too_long_are_told() {
        let second = Duration::from_secs(1);
        assert!(quiet_for(second, "true", &[]).is_ok());
        assert!(quiet_for(second, "false", &[]).is_err());
        assert!(quiet_for(Duration::from_millis(1), "sleep", &["60"]).is_err());
        assert!(quiet_for(second, "/nonexistent", &[]).is_err());
    }
}
