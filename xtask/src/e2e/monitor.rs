//! QEMU's control socket.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::snapshot::option;
use crate::run::Error;

/// Time between two looks at a machine that seems to hang.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Has a QEMU listen at a socket in the folder. Returns the socket.
pub(super) fn listen(command: &mut Command, folder: &Path) -> PathBuf {
    let socket = folder.join("qmp");
    // What an earlier one has left.
    let _ = std::fs::remove_file(&socket);
    command
        .arg("-qmp")
        .arg(option("unix:", &socket, ",server=on,wait=off"));
    socket
}

/// What the processors of a machine that does not go on are at, twice: whether they move shows then. Or why that cannot
/// be told, which tells something, too.
pub(super) fn processors(socket: &Path) -> String {
    let mut text = String::new();
    let looked = Monitor::connect(socket).and_then(|mut monitor| {
        for look in 1..=2 {
            if look == 2 {
                std::thread::sleep(BETWEEN_LOOKS);
            }
            for order in ["info cpus", "info registers -a", "info lapic", "info pic"] {
                let answer = monitor.ask(&json!({
                    "execute": "human-monitor-command",
                    "arguments": { "command-line": order },
                }))?;
                let answer = answer.as_str().unwrap_or_default();
                // Writing into a string cannot fail.
                let _ = writeln!(text, "== look {look}: {order}\n{answer}");
            }
        }
        Ok(())
    });
    if let Err(error) = looked {
        let _ = writeln!(text, "== QEMU does not tell more: {error}");
    }
    text
}

/// QEMU's control socket.
pub(super) struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects, and makes it ready for commands.
    ///
    /// # Errors
    /// There is no QEMU, or it does not answer.
    pub(super) fn connect(socket: &Path) -> Result<Self, Error> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut monitor = Self {
            stream: BufReader::new(stream),
        };
        monitor.ask(&json!({ "execute": "qmp_capabilities" }))?;
        Ok(monitor)
    }

    /// Sends a command and waits for its answer, past greetings and events.
    ///
    /// # Errors
    /// QEMU refuses the command, or does not answer.
    pub(super) fn ask(&mut self, command: &Value) -> Result<Value, Error> {
        writeln!(self.stream.get_mut(), "{command}")?;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into());
            }
            let mut answer: Value = serde_json::from_str(&line)
                .map_err(|error| Error::new(format!("QEMU's answer is no JSON: {error}")))?;
            if let Some(error) = answer.get("error") {
                return Err(Error::new(format!("QEMU refuses {command}: {error}")));
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_greetings_events_and_errors() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        writeln!(theirs, "{{\"QMP\": {{}}}}\n{{\"event\": \"STOP\"}}").unwrap();
        writeln!(theirs, "{{\"return\": {{\"status\": \"active\"}}}}").unwrap();
        writeln!(theirs, "{{\"error\": {{\"desc\": \"no\"}}}}\nnonsense").unwrap();
        let mut monitor = Monitor {
            stream: BufReader::new(ours),
        };
        let command = json!({ "execute": "x" });
        assert_eq!(monitor.ask(&command).unwrap()["status"], "active");
        assert!(monitor.ask(&command).is_err());
        assert!(monitor.ask(&command).is_err());
        drop(theirs);
        assert!(monitor.ask(&command).is_err());
    }

    #[test]
    fn a_machine_that_hangs_is_looked_at_twice_and_one_that_is_gone_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp");
        assert!(processors(&socket).contains("does not tell more"));

        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut orders = BufReader::new(stream.try_clone().unwrap()).lines();
            let _ = orders.next();
            writeln!(stream, "{{\"QMP\": {{}}}}\n{{\"return\": {{}}}}").unwrap();
            for order in orders.map_while(Result::ok).take(7) {
                let order: Value = serde_json::from_str(&order).unwrap();
                let answer = order["arguments"]["command-line"].as_str().unwrap();
                let answer = json!({ "return": format!("RIP of {answer}") });
                writeln!(stream, "{answer}").unwrap();
            }
        });
        let text = processors(&socket);
        server.join().unwrap();
        assert!(text.contains("== look 1: info cpus\nRIP of info cpus\n"));
        assert!(text.contains("== look 2: info lapic\nRIP of info lapic\n"));
        assert!(text.contains("== QEMU does not tell more"), "{text}");
    }
}
