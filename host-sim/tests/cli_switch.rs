//! `host-sim switch`: serves ports, ends in order, and says in a sentence why it cannot listen.

mod cli_support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use cli_support::host_sim;
use host_sim::net::switch::{Switch, SwitchPort};
use host_sim::net::{BackendError, Frame, NetworkBackend};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// A switch's process, which ends with the test.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
    first_line: String,
}

impl Process {
    /// Starts it and waits for its first line.
    fn start(path: &Path, options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_host-sim"))
            .arg("switch")
            .arg(path)
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut first_line = String::new();
        output.read_line(&mut first_line).unwrap();
        Self {
            child,
            output,
            first_line,
        }
    }

    /// Sends a signal and waits for the end. Returns what it printed after its first line.
    fn end(mut self, signal: Signal) -> String {
        let id = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(id, signal).unwrap();
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{signal}: {status}");
        rest
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something that other threads or processes do; fails when that takes too long.
fn until(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !look() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn frame(to: u8, from: u8) -> Frame {
    let [to, from] = [to, from].map(|last| [0, 0x15, 0x5D, 0, 0, last]);
    Frame::new([to.as_slice(), &from, &[0x88, 0xB5], &[7; 50]].concat())
}

fn send_and_receive(from: &SwitchPort, to: &SwitchPort, frame: &Frame) {
    until("the frame", || {
        // Until the port is connected, frames are lost.
        let _ = from.send(frame);
        to.receive(&mut Frame::default())
    });
}

#[test]
fn ports_use_it_until_it_is_told_to_end() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("switch");
    let process = Process::start(&path, &[]);
    assert_eq!(
        process.first_line,
        format!("the switch listens at {}\n", path.display())
    );
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // Nobody else can hold the lock, either.
    let lock = folder.path().join("switch.lock");
    assert_eq!(
        fs::metadata(&lock).unwrap().permissions().mode() & 0o777,
        0o600
    );

    // Ports come and go, first and second as well.
    let [one, two] = [1, 2].map(|_| SwitchPort::open(&path).unwrap());
    send_and_receive(&one, &two, &frame(2, 1));
    send_and_receive(&two, &one, &frame(1, 2));
    drop(one);
    let three = SwitchPort::open(&path).unwrap();
    send_and_receive(&three, &two, &frame(2, 3));
    drop(two);
    let four = SwitchPort::open(&path).unwrap();
    send_and_receive(&three, &four, &frame(4, 3));
    // One that reads nothing does not keep it from its end.
    let _deaf = UnixStream::connect(&path).unwrap();

    let rest = process.end(Signal::SIGTERM);
    assert!(rest.starts_with("frames: "), "{rest}");
    let numbers = |text: &str| -> Vec<u64> {
        text.split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect()
    };
    let counted = numbers(&rest);
    assert_eq!(counted.len(), 3, "{rest}");
    // The first frame went to all; its answer, to a port that was known by then, to one. Frames that were sent again
    // while a port was connecting may have stood for later ones.
    assert!(counted[0] >= 1 && counted[1] >= 1, "{rest}");

    // The ports that are left make another. What still waits in them came by way of the first.
    until("the next switch", || path.exists());
    while three.receive(&mut Frame::default()) {}
    send_and_receive(&four, &three, &frame(3, 4));
}

#[test]
fn it_removes_its_socket_and_can_be_started_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("switch");
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let process = Process::start(&path, &["--json"]);
        let first: serde_json::Value = serde_json::from_str(&process.first_line).unwrap();
        assert_eq!(first["event"], "listening");
        assert_eq!(first["path"], path.to_str().unwrap());
        let rest = process.end(signal);
        let last: serde_json::Value = serde_json::from_str(&rest).unwrap();
        assert_eq!(last["event"], "ended");
        assert_eq!((&last["ports"], &last["flooded"]), (&0.into(), &0.into()));
        assert!(!path.exists(), "{signal}");
    }
    // What a killed one leaves behind is in nobody's way.
    let mut killed = Process::start(&path, &[]);
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    assert!(path.exists());
    let process = Process::start(&path, &[]);
    assert!(process.first_line.starts_with("the switch listens"));
}

/// Asserts a refusal in one sentence, with this text in it.
fn assert_refused(path: &Path, text: &str) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_host-sim"))
        .arg("switch")
        .arg(path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that listens all the same would do so for ever.
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(output.stdout.is_empty());
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.starts_with("host-sim: "), "{message}");
    assert!(message.contains(text), "{message}");
}

#[test]
fn places_where_it_cannot_listen() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("switch");
    let process = Process::start(&path, &[]);
    assert_refused(&path, "another switch listens there");
    // That one goes on.
    let ports = [1, 2].map(|_| SwitchPort::open(&path).unwrap());
    send_and_receive(&ports[0], &ports[1], &frame(2, 1));
    drop(process);

    assert_refused(&folder.path().join("missing/switch"), "No such file");
    assert_refused(&folder.path().join("s".repeat(200)), "SUN_LEN");
    assert_refused(folder.path(), "no socket");
    let output = host_sim(&["switch"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn other_files_stay_as_they_are() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notes");
    fs::write(&path, "mine").unwrap();
    assert_refused(&path, "no socket");
    let opened = SwitchPort::open(&path);
    assert!(matches!(opened, Err(BackendError::System { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

    // Nor those beside it, for which it has uses of its own.
    let path = folder.path().join("switch");
    let beside = folder.path().join("switch.new");
    fs::write(&beside, "mine").unwrap();
    assert_refused(&path, "no socket");
    assert_eq!(fs::read(&beside).unwrap(), b"mine");
    fs::remove_file(&beside).unwrap();
    let target = folder.path().join("elsewhere");
    std::os::unix::fs::symlink(&target, folder.path().join("switch.lock")).unwrap();
    assert!(Switch::listen(&path).is_err());
    assert!(!target.exists(), "made through a symbolic link");
}
