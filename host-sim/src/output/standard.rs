//! This process's standard output and standard error, for those who must not wait for whoever reads them.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::QueuedOutput;

/// One of the two, through a [`QueuedOutput`]. [`Standard::drain`] is to be called before the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standard {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// Whether the process ends by order, and not because its work is done.
static ENDS_BY_ORDER: AtomicBool = AtomicBool::new(false);

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

    /// The process ends by order: from now on, [`Standard::drain`] waits for no reader that does not read.
    pub fn end_by_order() {
        ENDS_BY_ORDER.store(true, Ordering::Relaxed);
    }

    /// Waits until all that was written to either has gone out. As with any program, that is as long as its reader likes,
    /// who may look at the beginning in a pager, unless the process [ends by order](Standard::end_by_order).
    pub fn drain() {
        let patience = if ENDS_BY_ORDER.load(Ordering::Relaxed) {
            QueuedOutput::PATIENCE
        } else {
            Duration::MAX
        };
        for queue in [&OUTPUT, &ERROR] {
            if let Some(Some(queue)) = queue.get() {
                queue.drain(patience);
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
