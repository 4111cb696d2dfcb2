//! This process's standard output and standard error, for those who must not wait for whoever reads them.

use std::io::{self, Write};
use std::sync::OnceLock;

use super::QueuedOutput;

/// One of the two, through a [`QueuedOutput`]. [`Standard::drain`] is to be called before the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standard {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// The queues, as far as they are used; `None` for a host that refused a thread.
static OUTPUT: OnceLock<Option<QueuedOutput>> = OnceLock::new();
static ERROR: OnceLock<Option<QueuedOutput>> = OnceLock::new();

impl Standard {
    fn queue(self) -> Option<&'static QueuedOutput> {
        match self {
            Self::Output => OUTPUT.get_or_init(|| QueuedOutput::to(io::stdout()).ok()),
            Self::Error => ERROR.get_or_init(|| QueuedOutput::to(io::stderr()).ok()),
        }
        .as_ref()
    }

    /// Waits until all that was written to either has gone out, or nobody reads it any more.
    pub fn drain() {
        for queue in [&OUTPUT, &ERROR] {
            if let Some(Some(queue)) = queue.get() {
                queue.drain();
            }
        }
    }
}

impl Write for Standard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match (self.queue(), self) {
            (Some(mut queue), _) => queue.write(bytes),
            // Better late than never.
            (None, Self::Output) => io::stdout().write(bytes),
            (None, Self::Error) => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
