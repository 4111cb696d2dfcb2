//! `cargo xtask fuzz`: one parser under libFuzzer, on the stable compiler.

use std::path::PathBuf;

use crate::run::{self, Error, cargo, check, say};

/// What to fuzz.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The target; without one, they are listed
    target: Option<String>,
    /// How long to run
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Inputs that crashed before: run only these
    #[arg(long)]
    reproduce: Vec<PathBuf>,
}

/// Coverage instrumentation as libFuzzer wants it: plain code-generation options, so that the stable
/// compiler takes them.
const INSTRUMENTATION: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1";

fn targets() -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(run::root().join("fuzz/corpus"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Builds the fuzzer and runs it over the committed corpus and what it finds.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let targets = targets()?;
    let Some(target) = &options.target else {
        println!("fuzz targets:");
        for target in &targets {
            println!("  {target}");
        }
        return Ok(());
    };
    if !targets.contains(target) {
        let known = targets.join(", ");
        return Err(
            Error::new(format!("no fuzz target `{target}`; there are {known}")).with_exit_code(2),
        );
    }
    say("building the fuzzer (needs a C++ compiler for libFuzzer)");
    let target_dir = run::target_dir().join("fuzz");
    // An explicit target keeps the instrumentation out of build scripts and procedural macros.
    let triple = host_triple()?;
    check(
        cargo()
            .current_dir(run::root().join("fuzz/libfuzzer"))
            .args(["build", "--release", "--quiet", "--target", &triple])
            .env("RUSTFLAGS", INSTRUMENTATION)
            .env("CARGO_TARGET_DIR", &target_dir),
    )?;
    let program = target_dir.join(triple).join("release/viridian-fuzz");
    let found = target_dir.join("corpus").join(target);
    std::fs::create_dir_all(&found)?;
    let mut command = std::process::Command::new(program);
    command
        .env("VIRIDIAN_FUZZ_TARGET", target)
        .current_dir(&target_dir);
    if options.reproduce.is_empty() {
        say(&format!("fuzzing {target} for {} s", options.seconds));
        command
            .arg(found)
            .arg(run::root().join("fuzz/corpus").join(target));
        command.arg(format!("-max_total_time={}", options.seconds));
        command.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
        command.arg(format!("-artifact_prefix={target}-"));
    } else {
        // The fuzzer runs in another folder.
        for input in &options.reproduce {
            command.arg(std::path::absolute(input)?);
        }
    }
    check(&mut command)
}

fn host_triple() -> Result<String, Error> {
    let output = std::process::Command::new("rustc").arg("-vV").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| Error::new("`rustc -vV` names no host"))
}
