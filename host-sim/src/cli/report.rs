//! What a run has found out: told by the guest on its report port, and by the host about itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use host_sim::host::Traffic;
use host_sim::ic::heartbeat::HeartbeatStatus;
use serde::Serialize;

/// Lines that the guest may report; what follows is dropped, so that it can't fill the host's memory.
const MOST_LINES: usize = 4096;

/// What the guest has told, in the order of the telling.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct GuestReport {
    lines: BTreeMap<String, String>,
}

impl GuestReport {
    /// Takes one `key=value` line.
    pub(crate) fn take(&mut self, line: &str) {
        if let Some((key, value)) = line.trim_end().split_once('=')
            && self.lines.len() < MOST_LINES
        {
            let printable = |text: &str| text.chars().filter(|c| !c.is_control()).collect();
            self.lines.insert(printable(key), printable(value));
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.lines.get(key).map(String::as_str)
    }

    /// Keys with this prefix, and their values.
    pub(crate) fn with_prefix<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let lines = self.lines.range(prefix.to_owned()..);
        let lines = lines.map(|(key, value)| (key.as_str(), value.as_str()));
        lines.take_while(move |(key, _)| key.starts_with(prefix))
    }
}

/// How the back end was chosen.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BackendReport {
    /// `kvm` or `inproc`.
    pub(crate) name: &'static str,
    /// Why.
    pub(crate) reason: String,
    /// Measured speed of guest code on KVM, in million instructions a second.
    pub(crate) kvm_mips: Option<f64>,
}

/// Exact counts during the measured reads.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Measured {
    /// Storage commands.
    pub(crate) commands: u64,
    /// Signals from guest to host, per command.
    pub(crate) guest_signals_per_command: f64,
    /// Interrupts from host to guest, per command.
    pub(crate) host_interrupts_per_command: f64,
    /// Exits of virtual processors, per command; in process, calls into the hypervisor that would have been exits.
    pub(crate) exits_per_command: f64,
}

impl Measured {
    /// From one count to another. The guest chooses the moments, so nothing says that they come in order.
    pub(crate) fn between(before: (Traffic, u64), after: (Traffic, u64)) -> Self {
        let commands = after
            .0
            .storage_commands
            .saturating_sub(before.0.storage_commands);
        let per_command = |count: u64| {
            if commands == 0 {
                0.0
            } else {
                count as f64 / commands as f64
            }
        };
        Self {
            commands,
            guest_signals_per_command: per_command(
                after.0.guest_signals.saturating_sub(before.0.guest_signals),
            ),
            host_interrupts_per_command: per_command(
                after
                    .0
                    .host_interrupts
                    .saturating_sub(before.0.host_interrupts),
            ),
            exits_per_command: per_command(after.1.saturating_sub(before.1)),
        }
    }
}

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) backend: BackendReport,
    pub(crate) cpus: u32,
    pub(crate) guest: GuestReport,
    /// SHA-256 that the host computed over each image, by LUN.
    pub(crate) host_sha256: BTreeMap<u8, String>,
    pub(crate) heartbeat: HeartbeatStatus,
    pub(crate) measured: Measured,
    /// How the run ended.
    pub(crate) outcome: String,
    /// What went wrong; empty if nothing did.
    pub(crate) failures: Vec<String>,
}

impl Report {
    /// The hash that both ends agree on, if they do.
    pub(crate) fn agreed_sha256(&self) -> Option<&str> {
        let host = self.host_sha256.get(&0)?;
        let guest = self.guest.get("disk.0.sha256")?;
        (guest == host).then_some(host.as_str())
    }

    /// The report for people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |label: &str, value: &str| {
            let _ = writeln!(text, "{label:<18} {value}");
        };
        line(
            "back end",
            &format!("{}: {}", self.backend.name, self.backend.reason),
        );
        line("processors", &self.cpus.to_string());
        for (key, label) in [
            ("hypervisor.vendor", "hypervisor"),
            ("hypervisor.version", "  version"),
            ("hypervisor.features", "  features"),
            ("vmbus.version", "VMBus version"),
        ] {
            line(label, self.guest.get(key).unwrap_or("-"));
        }
        for (_, offer) in self.guest.with_prefix("offer.") {
            line("offer", offer);
        }
        for disk in 0..64 {
            let key = |name: &str| format!("disk.{disk}.{name}");
            let Some(identity) = self.guest.get(&key("identity")) else {
                continue;
            };
            line(&format!("disk {disk}"), identity);
            line(
                "  capacity",
                self.guest.get(&key("capacity")).unwrap_or("-"),
            );
            line(
                "  partitions",
                self.guest.get(&key("partition-table")).unwrap_or("-"),
            );
            let prefix = key("partition.");
            for (_, partition) in self.guest.with_prefix(&prefix) {
                line("    partition", partition);
            }
            if let Some(hash) = self.guest.get(&key("sha256")) {
                line("  SHA-256, guest", hash);
                let host = u8::try_from(disk)
                    .ok()
                    .and_then(|lun| self.host_sha256.get(&lun));
                line("  SHA-256, host", host.map_or("-", String::as_str));
            }
            if let Some(verify) = self.guest.get(&key("verify")) {
                line("  write-read", verify);
            }
        }
        for (key, label) in [
            ("speed.hash", "hashing"),
            ("speed.sequential", "sequential"),
            ("speed.random", "random"),
        ] {
            line(label, self.guest.get(key).unwrap_or("-"));
        }
        let Measured {
            commands,
            guest_signals_per_command,
            host_interrupts_per_command,
            exits_per_command,
        } = self.measured;
        line(
            "per command",
            &format!(
                "{guest_signals_per_command:.4} signals to the host, {host_interrupts_per_command:.4} interrupts to \
                 the guest, {exits_per_command:.4} exits ({commands} commands)"
            ),
        );
        let beat = &self.heartbeat;
        line(
            "heartbeats",
            &format!("{} sent, {} answered", beat.sent, beat.answered),
        );
        line("end", &self.outcome);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_that_ends_before_it_begins_is_nothing() {
        let later = Traffic {
            guest_signals: 1,
            host_interrupts: 2,
            storage_commands: 3,
        };
        let measured = Measured::between((later, 4), (Traffic::default(), 0));
        assert_eq!(measured.commands, 0);
    }

    #[test]
    fn lines_are_bounded_and_printable() {
        let mut report = GuestReport::default();
        report.take("a=b=c\r");
        report.take("nonsense");
        report.take("escape=\u{1b}[31mred");
        assert_eq!(report.get("a"), Some("b=c"));
        assert_eq!(report.get("escape"), Some("[31mred"));
        for number in 0..10_000 {
            report.take(&format!("k.{number}=v"));
        }
        assert_eq!(report.lines.len(), MOST_LINES);
        assert!(
            report
                .with_prefix("k.1")
                .all(|(key, _)| key.starts_with("k.1"))
        );
    }
}
