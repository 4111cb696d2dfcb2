//! A bounded pool of threads that execute commands.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use vsc_storage::scsi::{AdditionalSense, SenseKey};

use super::{Completion, Executor, ExecutorFactory, Job, Scratch};
use crate::vmbus::vsp::PollWaker;
use crate::vsp::scsi::Outcome;
use crate::vsp::storage::request::{Command, GuestBuffer};

/// Threads that execute commands of any number of channels. The threads end when the last clone and the last
/// channel using it are gone.
///
/// Its queue is bounded by the channels: each hands over at most
/// [`MAX_IN_FLIGHT`](crate::vsp::storage::MAX_IN_FLIGHT) jobs at a time.
#[derive(Clone)]
pub struct IoPool {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    next_channel: AtomicU64,
}

/// What the threads share.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// There is a job, or the pool ends.
    work: Condvar,
    /// A job has finished while somebody waits for that.
    idle: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<(Arc<Account>, Job)>,
    ended: bool,
}

/// One channel's part in the pool.
struct Account {
    id: u64,
    waker: PollWaker,
    results: Mutex<Results>,
}

#[derive(Default)]
struct Results {
    done: Vec<Completion>,
    running: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl IoPool {
    /// A pool of `threads` threads (at least one).
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let pool = Self {
            inner: Arc::new(Inner {
                queue: Arc::clone(&queue),
                threads: Mutex::new(Vec::new()),
                next_channel: AtomicU64::new(0),
            }),
        };
        for index in 0..threads.max(1) {
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new()
                .name(format!("storage-io-{index}"))
                .spawn(move || queue.work())?;
            lock(&pool.inner.threads).push(thread);
        }
        Ok(pool)
    }

    /// Makes executors on this pool, for a controller's options.
    #[must_use]
    pub fn factory(&self) -> ExecutorFactory {
        let inner = Arc::clone(&self.inner);
        Arc::new(move |waker| {
            Box::new(PoolExecutor {
                account: Arc::new(Account {
                    id: inner.next_channel.fetch_add(1, Ordering::Relaxed),
                    waker,
                    results: Mutex::default(),
                }),
                pool: Arc::clone(&inner),
            })
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        lock(&self.queue.state).ended = true;
        self.queue.work.notify_all();
        for thread in lock(&self.threads).drain(..) {
            // Its result is nothing, and a panic inside was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Queue {
    /// A thread's life.
    fn work(&self) {
        let mut scratch = Scratch::default();
        let mut state = lock(&self.state);
        loop {
            let Some((account, job)) = state.jobs.pop_front() else {
                if state.ended {
                    return;
                }
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            // Under the queue's lock, so that closing sees each job either waiting or running.
            lock(&account.results).running += 1;
            drop(state);
            let completion = run(job, &mut scratch);
            let mut results = lock(&account.results);
            results.done.push(completion);
            results.running -= 1;
            drop(results);
            account.waker.wake();
            state = lock(&self.state);
            self.idle.notify_all();
        }
    }
}

/// Executes a job. A panic in a disk image costs its command only.
fn run(job: Job, scratch: &mut Scratch) -> Completion {
    let broken = Completion {
        command: Command {
            buffer: GuestBuffer::default(),
            ..job.command
        },
        outcome: Outcome::check(SenseKey::HARDWARE_ERROR, AdditionalSense::NONE),
    };
    catch_unwind(AssertUnwindSafe(|| job.run(scratch))).unwrap_or_else(|_| {
        tracing::error!("a disk image panicked");
        *scratch = Scratch::default();
        broken
    })
}

/// A channel's executor on a pool.
struct PoolExecutor {
    account: Arc<Account>,
    pool: Arc<Inner>,
}

impl Executor for PoolExecutor {
    fn submit(&mut self, job: Job, _now: u64) {
        let queue = &self.pool.queue;
        lock(&queue.state)
            .jobs
            .push_back((Arc::clone(&self.account), job));
        queue.work.notify_one();
    }

    fn collect(&mut self, _now: u64, done: &mut Vec<Completion>) -> Option<u64> {
        done.append(&mut lock(&self.account.results).done);
        None
    }

    fn close(&mut self) {
        let queue = &self.pool.queue;
        let mut state = lock(&queue.state);
        let id = self.account.id;
        state.jobs.retain(|(account, _)| account.id != id);
        while lock(&self.account.results).running != 0 {
            state = queue
                .idle
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
