//! Storage commands that wait until the simulation picks one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use host_sim::vmbus::vsp::PollWaker;
use host_sim::vsp::storage::Completion;
use host_sim::vsp::storage::executor::{Executor, ExecutorFactory, Job, Scratch};

/// The commands of all channels that have not been executed yet.
#[derive(Clone, Default)]
pub struct Picked(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    waiting: Vec<(u64, Job)>,
    channels: BTreeMap<u64, Channel>,
    opened: u64,
}

struct Channel {
    done: Vec<Completion>,
    waker: PollWaker,
}

impl Picked {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the executors of channels.
    #[must_use]
    pub fn factory(&self) -> ExecutorFactory {
        let this = self.clone();
        Arc::new(move |waker| {
            let mut inner = this.inner();
            inner.opened += 1;
            let channel = inner.opened;
            let done = Vec::new();
            inner.channels.insert(channel, Channel { done, waker });
            Box::new(ChannelExecutor {
                queue: this.clone(),
                channel,
            })
        })
    }

    /// Commands that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.inner().waiting.len()
    }

    /// Executes one of them, or aborts it.
    pub fn finish(&self, index: usize, abort: bool) {
        let (channel, job) = self.inner().waiting.remove(index);
        let completion = if abort {
            job.abort()
        } else {
            job.run(&mut Scratch::default())
        };
        let mut inner = self.inner();
        if let Some(found) = inner.channels.get_mut(&channel) {
            found.done.push(completion);
            let waker = found.waker.clone();
            drop(inner);
            waker.wake();
        }
    }
}

struct ChannelExecutor {
    queue: Picked,
    channel: u64,
}

impl Executor for ChannelExecutor {
    fn submit(&mut self, job: Job, _now: u64) {
        self.queue.inner().waiting.push((self.channel, job));
    }

    fn collect(&mut self, _now: u64, done: &mut Vec<Completion>) -> Option<u64> {
        if let Some(channel) = self.queue.inner().channels.get_mut(&self.channel) {
            done.append(&mut channel.done);
        }
        None
    }

    fn close(&mut self) {
        let mut inner = self.queue.inner();
        inner
            .waiting
            .retain(|(channel, _)| *channel != self.channel);
        inner.channels.remove(&self.channel);
    }
}
