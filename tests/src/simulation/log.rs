//! What a simulation decided and what its guest saw, in order.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::plan::OpKind;

/// Entries kept for the report of a failure.
const KEPT: usize = 300;

/// Something unpleasant that the host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Chaos {
    /// The controller is taken away.
    Rescind,
    /// The controller is offered again.
    Reoffer {
        /// What had not been flushed may be lost meanwhile.
        power_cut: bool,
    },
    /// A disk is pulled out.
    Unplug(u8),
    /// A disk is put back.
    Plug(u8),
    /// A disk has a unit attention to report.
    Attention(u8),
    /// A command is aborted before it was begun.
    Abort(u16),
}

/// One line of the transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// A guest task is polled.
    Poll(u16),
    /// A virtual processor takes its messages and event flags.
    Dispatch(u8),
    /// The host carries out an effect of its control plane.
    Effect,
    /// The host takes a message of the guest.
    Inbox,
    /// The host polls a channel.
    Channel(u32),
    /// The host's disks finish a command: which of those that wait.
    Finish(u16),
    /// Time passes, in units of 100 ns.
    Advance(u32),
    /// The host is unpleasant.
    Chaos(Chaos),
    /// The simulation draws new weights for everything above.
    Mood,
    /// The guest begins an operation.
    Begin {
        /// Its number.
        op: u32,
        /// What it is.
        kind: OpKind,
        /// The disk.
        lun: u8,
        /// The first block.
        lba: u16,
        /// Number of blocks.
        blocks: u16,
    },
    /// The guest learns the outcome of an operation.
    End {
        /// Its number.
        op: u32,
        /// Whether it succeeded.
        succeeded: bool,
    },
    /// The guest has brought a controller up.
    ControllerUp,
    /// The guest has let go of a controller.
    ControllerDown,
    /// All operations are done; from here on the host is pleasant.
    Calm,
    /// Everything has been read back.
    Verified,
    /// The guest has disconnected.
    Disconnected,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The transcript: its hash, its last entries, and all of them where wanted.
#[derive(Debug, Default)]
pub struct Log {
    hasher: DefaultHasher,
    last: VecDeque<(u64, Entry)>,
    count: u64,
    print: bool,
}

impl Log {
    /// An empty transcript; `print` shows each entry as it comes.
    #[must_use]
    pub fn new(print: bool) -> Self {
        Self {
            print,
            ..Self::default()
        }
    }

    /// Adds an entry at a time (units of 100 ns).
    pub fn push(&mut self, now: u64, entry: Entry) {
        if self.print {
            println!("{:>6} {now:>9}  {entry}", self.count);
        }
        (now, entry).hash(&mut self.hasher);
        self.count += 1;
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back((now, entry));
    }

    /// Adds something that is part of the hash only.
    pub fn mix(&mut self, value: impl Hash) {
        value.hash(&mut self.hasher);
    }

    /// Hash of everything so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// Number of entries.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The last entries, one to a line.
    #[must_use]
    pub fn tail(&self) -> String {
        let first = self.count - self.last.len() as u64;
        let line = |(number, (now, entry)): (u64, &(u64, Entry))| {
            format!("{number:>6} {now:>9}  {entry}\n")
        };
        (first..).zip(&self.last).map(line).collect()
    }
}
