//! Where commands are executed.
//!
//! Without an [`Executor`] a channel executes each command at once on the thread that polls it: no hand-over,
//! no locks, and the right choice for images in the page cache. With one, commands are handed over as [`Job`]s
//! and come back as [`Completion`]s in any order.

mod pool;
mod seeded;

use std::sync::Arc;

pub use pool::IoPool;
pub use seeded::SeededExecutor;
use vm_memory::VolatileSlice;

use super::completion::Completion;
use super::request::Command;
use crate::memory::GuestMemory;
use crate::vmbus::vsp::PollWaker;
use crate::vsp::scsi::{DataBuffer, Outcome, UnitTable};

/// A command to execute, with everything that it needs. May be sent to any thread.
#[derive(Debug)]
pub struct Job {
    pub(super) command: Command,
    pub(super) units: Arc<UnitTable>,
    pub(super) memory: GuestMemory,
}

impl Job {
    /// Executes the command on this thread. `scratch` is reused from job to job.
    #[must_use]
    pub fn run(self, scratch: &mut Scratch) -> Completion {
        execute(self.command, &self.units, &self.memory, scratch)
    }

    /// Completes the command without executing it: for a job that is given up before it was begun.
    #[must_use]
    pub fn abort(self) -> Completion {
        finish(self.command, Outcome::Aborted)
    }
}

/// Executes commands for one channel. All methods are called from the channel's poll.
pub trait Executor: Send {
    /// Takes a job. There are never more than [`MAX_IN_FLIGHT`](super::MAX_IN_FLIGHT). `now` is the poll's time.
    fn submit(&mut self, job: Job, now: u64);

    /// Moves what is finished at `now` to `done`. Returns when to be asked again, at the latest, if nobody wakes
    /// the channel before; `None` if the waker does.
    fn collect(&mut self, now: u64, done: &mut Vec<Completion>) -> Option<u64>;

    /// Ends: jobs not begun are dropped, those running are waited for. When this returns no job touches guest
    /// memory any more.
    fn close(&mut self);
}

/// Makes the executor of a channel that is being opened; the waker makes the channel collect.
pub type ExecutorFactory = Arc<dyn Fn(PollWaker) -> Box<dyn Executor> + Send + Sync>;

/// Memory that executing commands reuses.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Always empty between commands, so that nothing is borrowed.
    slices: Vec<VolatileSlice<'static>>,
}

// SAFETY: the list holds slices only while `with` runs, which borrows `self` exclusively; at any other time it
// is an allocation without content, which may go to another thread.
unsafe impl Send for Scratch {}

impl Scratch {
    /// Calls `act` with an empty list that borrows for as long as the call; its capacity is kept.
    fn with<'a, R>(&mut self, act: impl FnOnce(&mut Vec<VolatileSlice<'a>>) -> R) -> R {
        let mut slices: Vec<VolatileSlice<'a>> = std::mem::take(&mut self.slices);
        let result = act(&mut slices);
        slices.clear();
        // Collecting an empty list into the same layout keeps the allocation.
        self.slices = slices.into_iter().map_while(|_| None).collect();
        result
    }
}

/// Executes a command.
#[inline]
pub(super) fn execute(
    command: Command,
    units: &UnitTable,
    memory: &GuestMemory,
    scratch: &mut Scratch,
) -> Completion {
    let outcome = match command.buffer.segments.as_slice() {
        [] => units.execute(command.address, &command.cdb, &DataBuffer::NONE),
        [segment] => match memory.slice(segment.address, segment.length as usize) {
            Ok(slice) => {
                let slices = [slice];
                let data = DataBuffer::new(&slices, command.direction);
                units.execute(command.address, &command.cdb, &data)
            }
            Err(_) => Outcome::BAD_FIELD,
        },
        segments => scratch.with(|slices| {
            for segment in segments {
                match memory.slice(segment.address, segment.length as usize) {
                    Ok(slice) => slices.push(slice),
                    // All segments were found to be RAM, and RAM does not go away.
                    Err(_) => return Outcome::BAD_FIELD,
                }
            }
            let data = DataBuffer::new(slices, command.direction);
            units.execute(command.address, &command.cdb, &data)
        }),
    };
    finish(command, outcome)
}

fn finish(command: Command, outcome: Outcome) -> Completion {
    Completion { command, outcome }
}
