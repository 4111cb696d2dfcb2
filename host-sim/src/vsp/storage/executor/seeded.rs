//! Deterministic delay and reordering, for simulations and fault tests.

use super::{Completion, Executor, Job, Scratch};

/// Delays every command by a time drawn from a seed, and executes it at the end of that time: both the
/// commands' effects and their completions come in an order that the seed alone decides.
///
/// Time is the poll's. The executor runs in the channel's poll and never wakes it; [`Executor::collect`] says
/// when it is due.
#[derive(Debug)]
pub struct SeededExecutor {
    random: u64,
    max_delay: u64,
    waiting: Vec<(u64, Job)>,
    scratch: Scratch,
}

impl SeededExecutor {
    /// An executor whose delays are from 0 to `max_delay`, in 100 ns units.
    #[must_use]
    pub fn new(seed: u64, max_delay: u64) -> Self {
        Self {
            random: seed,
            max_delay,
            waiting: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// The next number of the sequence (SplitMix64).
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl Executor for SeededExecutor {
    fn submit(&mut self, job: Job, now: u64) {
        let delay = self.next() % self.max_delay.saturating_add(1);
        self.waiting.push((now.saturating_add(delay), job));
    }

    fn collect(&mut self, now: u64, done: &mut Vec<Completion>) -> Option<u64> {
        loop {
            let next = self
                .waiting
                .iter()
                .enumerate()
                .min_by_key(|(_, (due, _))| *due)
                .map(|(index, (due, _))| (index, *due));
            match next {
                Some((index, due)) if due <= now => {
                    let (_, job) = self.waiting.swap_remove(index);
                    done.push(job.run(&mut self.scratch));
                }
                Some((_, due)) => return Some(due),
                None => return None,
            }
        }
    }

    fn close(&mut self) {
        self.waiting.clear();
    }
}
