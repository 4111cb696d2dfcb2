//! Nonsense on the control socket leaves the machine alone.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::context::Context;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// Requests that nobody should make.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "control",
    about: "malformed, endless and abandoned requests get an error object or a closed connection; the guest notices nothing",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(40),
    run,
};

/// What is no request.
const MALFORMED: &[&str] = &[
    "",
    "{",
    "null",
    "[]",
    "42",
    "\"status\"",
    "{}",
    r#"{"verb":"dance"}"#,
    r#"{"verb":7}"#,
    r#"{"verb":"status","verb":"quit"}"#,
    r#"{"verb":"status"} {"verb":"quit"}"#,
    r#"{"verb":"quit""#,
    r#"{"verb":"shutdown","action":"explode"}"#,
    r#"{"verb":"shutdown","wait":-1}"#,
    r#"{"verb":"time-sync","offset":1e300}"#,
    r#"{"verb":"kvp"}"#,
    r#"{"verb":"kvp","operation":"get","pool":"nowhere","key":"a"}"#,
    r#"{"verb":"disk","operation":"add","lun":256,"disk":"/x"}"#,
    r#"{"verb":"nic","operation":"remove","index":-1}"#,
    r#"{"verb":"keys","keys":"a"}"#,
    r#"{"verb":"mouse","x":70000}"#,
    "\u{0}\u{1}\u{2}",
    "\u{1b}[2J\u{7}",
];

/// What is a request, but cannot be carried out, and the sort of its error.
const IMPOSSIBLE: &[(&str, &str)] = &[
    (
        r#"{"verb":"disk","operation":"add","lun":64,"disk":"/dev/null"}"#,
        "failed",
    ),
    (
        r#"{"verb":"disk","operation":"add","lun":1,"disk":"/nowhere/at/all"}"#,
        "",
    ),
    (
        r#"{"verb":"disk","operation":"add","lun":1,"disk":",,,"}"#,
        "",
    ),
    (
        r#"{"verb":"disk","operation":"remove","lun":9}"#,
        "not-found",
    ),
    (
        r#"{"verb":"disk","operation":"remove","controller":3,"lun":0}"#,
        "not-found",
    ),
    (r#"{"verb":"dvd","operation":"eject","lun":9}"#, "not-found"),
    (
        r#"{"verb":"nic","operation":"remove","index":200}"#,
        "not-found",
    ),
    (
        r#"{"verb":"nic","operation":"add","nic":"carrier-pigeon"}"#,
        "invalid",
    ),
    (r#"{"verb":"screenshot","path":"/s.png"}"#, "no-device"),
    (
        r#"{"verb":"kvp","operation":"list","pool":"auto"}"#,
        "not-ready",
    ),
    (
        r#"{"verb":"vss","operation":"backup","lun":0,"to":"/nowhere/at/all"}"#,
        "not-found",
    ),
    (
        r#"{"verb":"copy-file","source":"/nowhere","target":"/x"}"#,
        "not-found",
    ),
    (
        r#"{"verb":"time-sync","offset":9223372036854775807}"#,
        "invalid",
    ),
];

fn run(context: &mut Context) -> Result<(), Trouble> {
    let machine = context.machine();
    let mut guest = context.start(&machine)?;
    let before = guest.boot_id()?;
    let path = guest.files().control.clone();
    let mode = std::fs::metadata(&path)?.permissions().mode() & 0o777;
    ensure(mode == 0o600, || format!("the socket's mode is {mode:o}"))?;

    let mut line = Line::open(&path)?;
    for request in MALFORMED {
        line.expect_error(request, "malformed")?;
    }
    let deep = "[".repeat(100_000);
    line.expect_error(&deep, "malformed")?;
    for (request, kind) in IMPOSSIBLE {
        line.expect_error(request, kind)?;
    }
    line.send(b"\xff\xfe{\"verb\":\"quit\"}\n")?;
    line.expect_kind("bytes that are no text", "malformed")?;
    let answer = line.ask("{\"verb\":\"heartbeat\"}")?;
    ensure(answer["ok"].is_object(), || {
        format!("after all that, a sound request gets {answer}")
    })?;

    endless(&path)?;
    abandoned(&path)?;
    crowd(&path)?;
    ensure(guest.boot_id()? == before, || {
        "the guest has booted again meanwhile".to_owned()
    })?;
    guest.ctl_until(&["heartbeat"], |beat| beat["contact"] == "ok")?;
    guest.ctl(&["quit"])?;
    let status = guest.wait_for_end()?;
    ensure(status.success() && !path.exists(), || {
        format!("host-sim ended with {status}, or left its socket")
    })
}

/// A connection, with a limit to its patience.
struct Line {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Line {
    fn open(path: &Path) -> Result<Self, Trouble> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        let reader = BufReader::new(stream.try_clone()?);
        Ok(Self { stream, reader })
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        Ok(self.stream.write_all(bytes)?)
    }

    fn answer(&mut self) -> Result<Value, Trouble> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        serde_json::from_str(&line)
            .map_err(|error| Trouble::failed(format!("the answer {line:?} is no JSON: {error}")))
    }

    fn ask(&mut self, request: &str) -> Result<Value, Trouble> {
        self.send(format!("{request}\n").as_bytes())?;
        self.answer()
    }

    fn expect_error(&mut self, request: &str, kind: &str) -> Result<(), Trouble> {
        self.send(format!("{request}\n").as_bytes())?;
        let start: String = request.chars().take(80).collect();
        self.expect_kind(&start, kind)
    }

    /// An empty kind is any.
    fn expect_kind(&mut self, what: &str, kind: &str) -> Result<(), Trouble> {
        let answer = self
            .answer()
            .map_err(|trouble| trouble.during(&format!("{what:?}")))?;
        let error = &answer["error"];
        let is_right = error["message"].is_string() && (kind.is_empty() || error["kind"] == kind);
        ensure(is_right, || format!("{what:?} gets {answer}"))
    }
}

/// A line that does not end: an error, then the end of the connection.
fn endless(path: &Path) -> Result<(), Trouble> {
    let mut line = Line::open(path)?;
    let block = [b'a'; 1 << 16];
    let mut refused = false;
    for _ in 0..64 {
        match line.stream.write_all(&block) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                ) =>
            {
                refused = true;
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if !refused {
        line.expect_kind("a line of 4 MiB", "malformed")?;
    }
    Ok(())
}

/// Connections that end in the middle of a request, or before its answer.
fn abandoned(path: &Path) -> Result<(), Trouble> {
    for part in [
        "",
        "{\"verb\":",
        "{\"verb\":\"inspect\"}\n",
        "{\"verb\":\"quit\"",
    ] {
        let mut line = Line::open(path)?;
        line.send(part.as_bytes())?;
    }
    Ok(())
}

/// More connections than are served.
fn crowd(path: &Path) -> Result<(), Trouble> {
    // Those that were abandoned are still counted for a moment.
    std::thread::sleep(Duration::from_millis(500));
    let mut lines = Vec::new();
    for _ in 0..40 {
        lines.push(Line::open(path)?);
    }
    let mut served = 0;
    for line in &mut lines {
        // Those that are turned away have their error already.
        let sent = line.send(b"{\"verb\":\"status\"}\n");
        let answer = line.answer();
        match (sent, answer) {
            (Ok(()), Ok(answer)) if answer["ok"].is_object() => served += 1,
            (_, Ok(answer)) if answer["error"]["kind"] == "busy" => {}
            (_, Err(_)) => {}
            (_, Ok(answer)) => {
                return Err(Trouble::failed(format!("in a crowd: {answer}")));
            }
        }
    }
    ensure((1..=16).contains(&served), || {
        format!("{served} of 40 connections were served")
    })
}
