//! The guest's tasks: which are woken, and polling one of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A future of the guest. Everything is on one thread.
pub type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Task {
    number: u16,
    name: String,
    future: TaskFuture,
    flag: Arc<Flag>,
    waker: Waker,
}

/// Tasks that are polled when the simulation says so, and never unless woken: a wake-up that gets lost is a task
/// that never ends. The exception are tasks that wait for time, which nobody wakes.
#[derive(Default)]
pub struct Tasks {
    tasks: Vec<Task>,
    next: u16,
}

impl Tasks {
    /// Adds a task, woken.
    pub fn add(&mut self, name: String, future: TaskFuture) {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        self.tasks.push(Task {
            number: self.next,
            name,
            future,
            waker: Waker::from(flag.clone()),
            flag,
        });
        self.next += 1;
    }

    /// Whether all have ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Numbers of those that are woken.
    pub fn woken(&self) -> impl Iterator<Item = u16> {
        let woken = |task: &&Task| task.flag.0.load(Ordering::Relaxed);
        self.tasks.iter().filter(woken).map(|task| task.number)
    }

    /// Wakes those whose name begins like this.
    pub fn wake(&self, beginning: &str) {
        for task in &self.tasks {
            if task.name.starts_with(beginning) {
                task.waker.wake_by_ref();
            }
        }
    }

    /// Polls a task.
    pub fn poll(&mut self, number: u16) {
        let Some(place) = self.tasks.iter().position(|task| task.number == number) else {
            return;
        };
        let task = &mut self.tasks[place];
        task.flag.0.store(false, Ordering::Relaxed);
        let mut context = Context::from_waker(&task.waker);
        if let Poll::Ready(()) = task.future.as_mut().poll(&mut context) {
            // Dropping it may wake others; the order of those that stay is part of the transcript.
            drop(self.tasks.remove(place));
        }
    }

    /// Names of those that have not ended.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.tasks.iter().map(|task| task.name.as_str()).collect()
    }
}
