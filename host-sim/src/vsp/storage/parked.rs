//! Commands that wait for space on the host.

use super::request::Command;
use super::shared::Shared;

/// Time until commands that found no space are tried again: 100 ms, in 100 ns units.
const RETRY_INTERVAL: u64 = 1_000_000;

/// The commands of one channel that found no space on the host and are to wait for it.
///
/// The guest sees them take long. They are not acknowledged, so nothing is lost when the channel closes first.
#[derive(Default)]
pub(super) struct Parked {
    commands: Vec<Command>,
    /// When they are tried again.
    due: u64,
    /// What an operator had asked for when they were parked.
    resumes: u64,
}

impl Parked {
    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    /// Parks a command.
    pub(super) fn push(&mut self, mut command: Command, shared: &Shared, now: u64) {
        if self.commands.is_empty() {
            self.due = now.saturating_add(RETRY_INTERVAL);
            self.resumes = shared.resumes();
        }
        command.waited = true;
        self.commands.push(command);
        shared.waiting.add(1);
    }

    /// The commands that are to be tried again now: all or none.
    pub(super) fn take_due(&mut self, shared: &Shared, now: u64) -> Vec<Command> {
        if self.commands.is_empty() || (now < self.due && self.resumes == shared.resumes()) {
            return Vec::new();
        }
        shared.waiting.remove(self.commands.len());
        std::mem::take(&mut self.commands)
    }

    /// When to look again, at the latest.
    pub(super) fn due(&self) -> Option<u64> {
        (!self.commands.is_empty()).then_some(self.due)
    }

    /// Gives all of them up.
    pub(super) fn drop_all(&mut self, shared: &Shared) {
        shared.waiting.remove(self.commands.len());
        self.commands.clear();
    }
}
