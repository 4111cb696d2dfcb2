//! `host-sim run --kernel`: what a user gets for bad input, and a kernel of a few instructions on a usable KVM.

mod cli_support;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use cli_support::{host_sim, skip};
use nix::fcntl::{FcntlArg, fcntl};
use tempfile::TempDir;

/// Prints `K`, then resets the machine by its reset register the first time and powers it off the second: the real-time
/// clock's memory, which a reset leaves alone, tells which time it is.
const CODE: &[u8] = &[
    0x66, 0xBA, 0xF8, 0x03, 0xB0, b'K', 0xEE, // mov dx, 0x3f8; mov al, 'K'; out dx, al
    0xB0, 0x40, 0xE6, 0x70, 0xE4, 0x71, // mov al, 0x40; out 0x70, al; in al, 0x71
    0x3C, 0x5A, 0x74, 0x0C, // cmp al, 0x5a; je off
    0xB0, 0x5A, 0xE6, 0x71, // mov al, 0x5a; out 0x71, al
    0x66, 0xBA, 0xF9, 0x0C, 0xB0, 0x0E, 0xEE,
    0xF4, // mov dx, 0xcf9; mov al, 0x0e; out dx, al; hlt
    0x66, 0xBA, 0x04, 0x06, 0x66, 0xB8, 0x00, 0x34, 0x66, 0xEF,
    0xF4, // off: mov dx, 0x604; ...
];

/// Prints `K` for ever.
const CHATTER: &[u8] = &[
    0x66, 0xBA, 0xF8, 0x03, 0xB0, b'K', // mov dx, 0x3f8; mov al, 'K'
    0xEE, 0xEB, 0xFD, // again: out dx, al; jmp again
];

/// How many times [`LENGTHY`] prints `K`; then it powers off.
const LENGTH: usize = 20_000;
const LENGTHY: &[u8] = &[
    0xB9, 0x20, 0x4E, 0x00, 0x00, // mov ecx, 20000
    0x66, 0xBA, 0xF8, 0x03, 0xB0, b'K', // mov dx, 0x3f8; mov al, 'K'
    0xEE, 0xE2, 0xFD, // again: out dx, al; loop again
    0x66, 0xBA, 0x04, 0x06, 0x66, 0xB8, 0x00, 0x34, 0x66, 0xEF,
    0xF4, // mov dx, 0x604; mov ax, 0x3400; out dx, ax; hlt
];

/// A bzImage for 32 bits.
fn kernel(folder: &Path, code: &[u8]) -> PathBuf {
    let mut image = vec![0; 1024];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1F1, &[1]);
    put(0x1FE, &[0x55, 0xAA, 0xEB, 0x66]);
    put(0x202, b"HdrS\x0F\x02");
    put(0x211, &[1]);
    put(0x214, &0x10_0000_u32.to_le_bytes());
    put(0x22C, &0x7FFF_FFFF_u32.to_le_bytes());
    put(0x234, &[1]);
    put(0x238, &2047_u32.to_le_bytes());
    put(0x258, &0x20_0000_u64.to_le_bytes());
    put(0x260, &0x1000_u32.to_le_bytes());
    image.extend_from_slice(code);
    let path = folder.join("kernel");
    fs::write(&path, image).unwrap();
    path
}

fn run(kernel: &Path, more: &[&str]) -> Output {
    let mut arguments = vec![
        "run",
        "--timeout",
        "60",
        "--kernel",
        kernel.to_str().unwrap(),
    ];
    arguments.extend(more);
    host_sim(&arguments)
}

fn refused(output: &Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is missing: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn bad_input_is_named() {
    let folder = TempDir::new().unwrap();
    refused(&run(&folder.path().join("missing"), &[]), &["missing"]);
    for bytes in [&b""[..], b"#!/bin/sh\n", b"\x7FELF\x01"] {
        let path = folder.path().join("odd");
        fs::write(&path, bytes).unwrap();
        refused(&run(&path, &[]), &["cannot boot", "odd"]);
    }
    let kernel = kernel(folder.path(), CODE);
    for (arguments, word) in [
        (&["--serial1", "pty"][..], "serial1"),
        (&["--serial1", "file:/nonexistent/x"], "/nonexistent/x"),
        (&["--initrd", "/nonexistent/y"], "/nonexistent/y"),
        (&["--hyperv", "maybe"], "hyperv"),
        (
            &["--hyperv", "off", "--disk", "/nonexistent/d"],
            "--hyperv on",
        ),
        (&["--hyperv", "off", "--nic", "user"], "--nic"),
        (&["--hyperv", "off", "--name", "x"], "--name"),
        (
            &["--hyperv", "off", "--recommend", "tlb-flush"],
            "--recommend",
        ),
        (&["--pin", "0,first"], "--pin"),
        (&["--demo"], "--demo"),
        (&["--guest", "x"], "--guest"),
        (&["--backend", "inproc"], "in-process"),
    ] {
        refused(&run(&kernel, arguments), &[word]);
    }
    refused(&host_sim(&["run"]), &["--guest"]);
    refused(
        &host_sim(&["run", "--guest", "x", "--initrd", "y"]),
        &["--initrd", "--guest"],
    );
}

#[test]
fn a_kernel_resets_and_powers_off() {
    let folder = TempDir::new().unwrap();
    let kernel = kernel(folder.path(), CODE);
    let console = folder.path().join("console");
    let line = format!("file:{}", console.display());
    let probe = host_sim(&["probe"]);
    if !probe.status.success() {
        return skip("kernel on KVM", "KVM cannot be used");
    }
    refused(
        &run(&kernel, &["--mem", "16M", "--pin", "99999"]),
        &["99999"],
    );
    for (hyperv, no_reboot, expected) in
        [("on", false, "KK"), ("off", false, "KK"), ("on", true, "K")]
    {
        let mut arguments = vec!["--mem", "16M", "--serial1", &line, "--hyperv", hyperv];
        if no_reboot {
            arguments.push("--no-reboot");
        }
        let output = run(&kernel, &arguments);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(fs::read_to_string(&console).unwrap(), expected);
        let end = if no_reboot {
            "asked for a reset"
        } else {
            "powered off"
        };
        assert!(
            text.trim_end().lines().last().unwrap().contains(end),
            "{text}"
        );
    }
    let output = run(&kernel, &["--mem", "1M"]);
    refused(&output, &["memory"]);
}

#[test]
fn a_console_that_nobody_reads_holds_up_no_end() {
    let probe = host_sim(&["probe"]);
    if !probe.status.success() {
        return skip("console that nobody reads", "KVM cannot be used");
    }
    let folder = TempDir::new().unwrap();
    let kernel = kernel(folder.path(), CHATTER);
    // Both outputs go into one pipe, as with `2>&1 | less`.
    let (unread, pipe) = nix::unistd::pipe().unwrap();
    fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let mut machine = Command::new(env!("CARGO_BIN_EXE_host-sim"))
        .args(["run", "--mem", "16M", "--timeout", "1", "--kernel"])
        .arg(kernel)
        .stdin(Stdio::null())
        .stdout(pipe.try_clone().unwrap())
        .stderr(pipe)
        .spawn()
        .unwrap();
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = machine.try_wait().unwrap() {
            break status;
        }
        if begin.elapsed() > Duration::from_secs(60) {
            machine.kill().unwrap();
            machine.wait().unwrap();
            panic!("the machine does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    drop(unread);
    assert_eq!(status.code(), Some(1));
}

#[test]
fn a_console_that_is_read_late_is_whole() {
    let probe = host_sim(&["probe"]);
    if !probe.status.success() {
        return skip("console that is read late", "KVM cannot be used");
    }
    let folder = TempDir::new().unwrap();
    let kernel = kernel(folder.path(), LENGTHY);
    let (reader, pipe) = nix::unistd::pipe().unwrap();
    fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let mut machine = Command::new(env!("CARGO_BIN_EXE_host-sim"))
        .args(["run", "--mem", "16M", "--timeout", "60", "--kernel"])
        .arg(kernel)
        .stdin(Stdio::null())
        .stdout(pipe)
        .spawn()
        .unwrap();
    // Somebody reads the beginning in a pager: the guest has been off for a while.
    std::thread::sleep(Duration::from_secs(4));
    let mut text = String::new();
    fs::File::from(reader).read_to_string(&mut text).unwrap();
    assert!(machine.wait().unwrap().success());
    assert_eq!(text.matches('K').count(), LENGTH);
    assert!(text.trim_end().ends_with("powered off with status 0"));
}
