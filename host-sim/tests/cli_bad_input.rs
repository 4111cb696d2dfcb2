//! What a user gets for bad input: one clear sentence, exit status 1 or 2, and nothing modified.

mod cli_support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cli_support::{guest_image, host_sim, skip};
use host_sim::disk::vhd::{CreateOptions, Kind, create_file};
use tempfile::TempDir;

/// Asserts the shape of a refusal: the sentence, on one line, with all of `words` in it.
fn assert_refused(output: &Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    assert!(matches!(code, Some(1 | 2)), "{code:?}: {text}");
    let sentences: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("host-sim: "))
        .collect();
    assert_eq!(sentences.len(), 1, "{text}");
    for word in words {
        assert!(sentences[0].contains(word), "`{word}` is missing: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

/// A file that looks enough like a guest where the real one is not built: refusals come before it is used.
fn any_guest(folder: &Path) -> PathBuf {
    guest_image().unwrap_or_else(|| {
        let path = folder.join("not-a-guest");
        fs::write(&path, b"\x7FELF").unwrap();
        path
    })
}

fn run_with_disk(guest: &Path, disk: &str) -> Output {
    host_sim(&[
        "run",
        "--backend",
        "inproc",
        "--guest",
        guest.to_str().unwrap(),
        "--disk",
        disk,
    ])
}

#[test]
fn recommendations_that_nobody_can_follow() {
    let folder = TempDir::new().unwrap();
    let guest = any_guest(folder.path());
    let guest = guest.to_str().unwrap();
    let run = |more: &[&str]| host_sim(&[&["run", "--recommend", "tlb-flush"], more].concat());
    if guest_image().is_some() {
        let output = run(&["--backend", "inproc", "--guest", guest]);
        assert_refused(&output, &["--recommend", "KVM"]);
    }
    let output = host_sim(&["run", "--guest", guest, "--recommend", "everything"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("everything"));
}

#[test]
fn guests_that_are_none() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing");
    assert_refused(
        &host_sim(&["run", "--guest", missing.to_str().unwrap()]),
        &["missing", "No such file"],
    );
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("text", b"#!/bin/sh\n"),
        ("short", b"\x7FELF\x02\x01\x01"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        assert_refused(
            &host_sim(&["run", "--guest", path.to_str().unwrap()]),
            &[name, "is no guest"],
        );
    }
    // A program of this machine is an ELF file, but none of our guests.
    let own = host_sim(&["run", "--guest", env!("CARGO_BIN_EXE_host-sim")]);
    assert_refused(&own, &["host-sim"]);
}

#[test]
fn images_that_cannot_be_used() {
    let folder = TempDir::new().unwrap();
    let guest = any_guest(folder.path());
    if guest_image().is_none() {
        return skip(
            "images_that_cannot_be_used",
            "no guest image (VIRIDIAN_GUEST)",
        );
    }
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let vhd = folder.path().join("good.vhd");
    create_file(
        &vhd,
        &CreateOptions::new(
            4 << 20,
            Kind::Dynamic {
                block_size: 2 << 20,
            },
        ),
    )
    .unwrap();
    let good = fs::read(&vhd).unwrap();
    let mut corrupt = good.clone();
    corrupt[512 + 36] ^= 1;
    let unaligned = file("unaligned.img", &[0; 1000]);
    let truncated = file("truncated.vhd", &good[..good.len() / 2]);
    let corrupt = file("corrupt.vhd", &corrupt);
    let empty = file("empty.img", &[]);
    let protected = file("protected.img", &[0; 4096]);
    fs::set_permissions(&protected, fs::Permissions::from_mode(0o444)).unwrap();

    let missing = folder.path().join("missing.img");
    assert_refused(
        &run_with_disk(&guest, missing.to_str().unwrap()),
        &["missing.img", "No such file"],
    );
    assert_refused(
        &run_with_disk(&guest, folder.path().to_str().unwrap()),
        &[folder.path().to_str().unwrap()],
    );
    for (path, option, words) in [
        (&unaligned, "", &["unaligned.img", "1000"][..]),
        (&truncated, ",format=vhd", &["truncated.vhd"]),
        (&corrupt, ",format=vhd", &["corrupt.vhd", "checksum"]),
        (&empty, "", &["empty.img"]),
        (&protected, "", &["protected.img", "read"]),
        (&protected, ",format=vhd,ro", &["protected.img"]),
    ] {
        let before = fs::read(path).unwrap();
        assert_refused(
            &run_with_disk(&guest, &format!("{}{option}", path.display())),
            words,
        );
        assert_eq!(
            fs::read(path).unwrap(),
            before,
            "{} was modified",
            path.display()
        );
    }
}

#[test]
fn options_that_make_no_sense() {
    let folder = TempDir::new().unwrap();
    let guest = any_guest(folder.path());
    let guest = guest.to_str().unwrap();
    // These are the argument parser's: it names the option and points to the help.
    for (arguments, word) in [
        (&["run"][..], "--guest"),
        (&["run", "--guest", guest, "--frobnicate"], "--frobnicate"),
        (&["run", "--guest", guest, "--cpus", "0"], "--cpus"),
        (&["run", "--guest", guest, "--cpus", "65"], "--cpus"),
        (&["run", "--guest", guest, "--mem", "lots"], "lots"),
        (&["run", "--guest", guest, "--backend", "xen"], "xen"),
        (&["run", "--guest", guest, "--disk", "a,rw"], "rw"),
        (&["launch"], "launch"),
    ] {
        let output = host_sim(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(
            text.starts_with("error: ") && text.contains(word),
            "{arguments:?}: {text}"
        );
    }
    assert_refused(
        &host_sim(&["run", "--guest", guest, "--mem", "1M"]),
        &["1048576 bytes", "16 MiB"],
    );
    if guest_image().is_some() {
        let version = host_sim(&["run", "--guest", guest, "--vmbus-version", "7.0"]);
        assert_refused(&version, &["7.0", "5.3"]);
        let kept = folder.path().join("kept");
        fs::write(&kept, "an earlier trace").unwrap();
        let kept_text = kept.to_str().unwrap();
        let version = host_sim(&[
            "run",
            "--guest",
            guest,
            "--trace",
            kept_text,
            "--vmbus-version",
            "7.0",
        ]);
        assert_refused(&version, &["7.0"]);
        assert_eq!(fs::read(&kept).unwrap(), b"an earlier trace");
        let trace = host_sim(&["run", "--guest", guest, "--trace", "/nonexistent/trace"]);
        assert_refused(&trace, &["/nonexistent/trace"]);
    }
}

#[test]
fn kvm_without_permission() {
    let Some(guest) = guest_image() else {
        return skip("kvm_without_permission", "no guest image (VIRIDIAN_GUEST)");
    };
    if !Path::new("/dev/kvm").exists() {
        return skip("kvm_without_permission", "/dev/kvm does not exist");
    }
    if !nix::unistd::geteuid().is_root() {
        return skip(
            "kvm_without_permission",
            "only root can become a user without permission",
        );
    }
    // A copy, since that user may not be able to reach the build's folder.
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (program, image) = (folder.path().join("host-sim"), folder.path().join("guest"));
    fs::copy(env!("CARGO_BIN_EXE_host-sim"), &program).unwrap();
    fs::copy(guest, &image).unwrap();
    fs::set_permissions(&image, fs::Permissions::from_mode(0o644)).unwrap();
    let nobody = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command
            .args(arguments)
            .uid(65534)
            .gid(65534)
            .current_dir("/");
        command.output().unwrap()
    };
    if fs::metadata("/dev/kvm").unwrap().permissions().mode() & 0o006 == 0o006 {
        return skip("kvm_without_permission", "everybody may use /dev/kvm here");
    }
    let output = nobody(&[
        "run",
        "--backend",
        "kvm",
        "--guest",
        image.to_str().unwrap(),
    ]);
    assert_refused(&output, &["/dev/kvm", "ermission"]);
    let probe = nobody(&["probe", "--json"]);
    assert!(String::from_utf8_lossy(&probe.stdout).contains("\"usable\":false"));
}

#[test]
fn a_trace_over_a_disk() {
    let Some(guest) = guest_image() else {
        return skip("a_trace_over_a_disk", "no guest image (VIRIDIAN_GUEST)");
    };
    let folder = TempDir::new().unwrap();
    let (image, link) = (folder.path().join("disk.img"), folder.path().join("link"));
    fs::write(&image, vec![7; 1 << 20]).unwrap();
    std::os::unix::fs::symlink(&image, &link).unwrap();
    for trace in [&image, &link] {
        let output = host_sim(&[
            "run",
            "--backend",
            "inproc",
            "--guest",
            guest.to_str().unwrap(),
            "--disk",
            image.to_str().unwrap(),
            "--trace",
            trace.to_str().unwrap(),
            "--timeout",
            "5",
        ]);
        assert_refused(&output, &["trace", trace.to_str().unwrap(), "overwrite"]);
        assert_eq!(fs::read(&image).unwrap(), vec![7; 1 << 20]);
    }
}

#[test]
fn output_that_nobody_reads() {
    let folder = TempDir::new().unwrap();
    let mut runs = vec![
        vec!["probe".to_owned()],
        vec!["probe".to_owned(), "--json".to_owned()],
    ];
    if let Some(guest) = guest_image() {
        let image = folder.path().join("disk.img");
        fs::File::create(&image).unwrap().set_len(1 << 20).unwrap();
        let disk = format!("{},ro", image.display());
        let words = [
            "run",
            "--backend",
            "inproc",
            "--demo",
            "--disk",
            &disk,
            "--guest",
        ];
        let mut words: Vec<_> = words.map(str::to_owned).to_vec();
        words.push(guest.to_str().unwrap().to_owned());
        runs.push(words);
    }
    for arguments in runs {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_host-sim"))
            .args(&arguments)
            .stdout(writer)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {text}");
        assert!(!text.contains("panicked"), "{arguments:?}: {text}");
    }
}
