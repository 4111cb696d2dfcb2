//! Small executors for the `async` fronts: one that blocks on a future, one that runs a set of tasks.
//!
//! Both park by [`Runtime::idle`] when there is nothing to do and call a closure of the caller whenever an
//! interrupt may have come, which is the place for [`Bus::dispatch`](crate::bus::Bus::dispatch). Neither
//! allocates when it polls. The fronts work with any other executor too.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};

use crate::platform::Runtime;

/// A waker that remembers that it was used.
#[derive(Debug)]
struct Flag(AtomicBool);

impl Flag {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(true)))
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs a future to its end on this thread or processor.
///
/// `on_idle` is called whenever the future cannot go on: before and after each [`Runtime::idle`]. The
/// future is polled again after each round, woken or not, so that it may also wait for things that wake
/// nobody.
pub fn block_on<F: Future>(
    runtime: &impl Runtime,
    future: F,
    mut on_idle: impl FnMut(),
) -> F::Output {
    let mut future = pin!(future);
    let flag = Flag::new();
    let waker = Waker::from(flag.clone());
    let mut context = Context::from_waker(&waker);
    loop {
        flag.take();
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        on_idle();
        if !flag.is_set() {
            runtime.idle();
            on_idle();
        }
    }
}

struct Task<'a> {
    future: Pin<Box<dyn Future<Output = ()> + 'a>>,
    flag: Arc<Flag>,
    waker: Waker,
}

/// A set of tasks that run in turns on one thread or processor.
#[derive(Default)]
pub struct TaskSet<'a> {
    tasks: Vec<Task<'a>>,
}

impl fmt::Debug for TaskSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskSet")
            .field("tasks", &self.tasks.len())
            .finish()
    }
}

impl<'a> TaskSet<'a> {
    /// A set without tasks.
    #[must_use]
    pub const fn new() -> Self {
        Self { tasks: Vec::new() }
    }

    /// Adds a task. Allocates for it once.
    pub fn spawn(&mut self, future: impl Future<Output = ()> + 'a) {
        let flag = Flag::new();
        self.tasks.push(Task {
            future: Box::pin(future),
            waker: Waker::from(flag.clone()),
            flag,
        });
    }

    /// Number of tasks that have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether all tasks have ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Polls each task that has been woken, once. Tells whether there was one.
    pub fn run_woken(&mut self) -> bool {
        let mut any = false;
        self.tasks.retain_mut(|task| {
            if !task.flag.take() {
                return true;
            }
            any = true;
            let mut context = Context::from_waker(&task.waker);
            task.future.as_mut().poll(&mut context).is_pending()
        });
        any
    }

    /// Runs all tasks to their end. `on_idle` is called in each round, before and after
    /// [`Runtime::idle`].
    pub fn run(&mut self, runtime: &impl Runtime, mut on_idle: impl FnMut()) {
        while !self.is_empty() {
            let worked = self.run_woken();
            on_idle();
            if !worked && !self.tasks.iter().any(|task| task.flag.is_set()) {
                runtime.idle();
                on_idle();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::{Platform, SharedPages};
    use core::cell::Cell;
    use core::future::poll_fn;

    /// Counts how often it idles.
    struct Idler(Cell<u32>);

    // SAFETY: there is no memory.
    unsafe impl Platform for Idler {
        fn allocate_shared(&self, _pages: usize) -> Option<SharedPages> {
            None
        }
        unsafe fn free_shared(&self, _pages: SharedPages) {}
        fn page_frame(&self, _pages: &SharedPages, _index: usize) -> u64 {
            0
        }
    }

    impl Runtime for Idler {
        fn now(&self) -> u64 {
            0
        }
        fn idle(&self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn a_ready_future_never_idles() {
        let idler = Idler(Cell::new(0));
        assert_eq!(block_on(&idler, async { 7 }, || unreachable!()), 7);
        assert_eq!(idler.0.get(), 0);
    }

    #[test]
    fn a_future_is_polled_after_each_idle() {
        let idler = Idler(Cell::new(0));
        let future = poll_fn(|_| match idler.0.get() {
            3 => Poll::Ready(()),
            _ => Poll::Pending,
        });
        block_on(&idler, future, || {});
        assert_eq!(idler.0.get(), 3);
    }

    #[test]
    fn a_woken_future_is_polled_without_idling() {
        let idler = Idler(Cell::new(0));
        let mut polls = 0;
        let future = poll_fn(|context| {
            polls += 1;
            context.waker().wake_by_ref();
            if polls == 5 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        block_on(&idler, future, || {});
        assert_eq!(idler.0.get(), 0);
    }

    #[test]
    fn tasks_are_polled_when_woken_and_removed_when_done() {
        let idler = Idler(Cell::new(0));
        let baton = Cell::new(0);
        let waiting: Cell<Option<Waker>> = Cell::new(None);
        let polls = Cell::new(0);
        let mut tasks = TaskSet::new();
        tasks.spawn(poll_fn(|context| {
            polls.set(polls.get() + 1);
            if baton.get() == 2 {
                return Poll::Ready(());
            }
            waiting.set(Some(context.waker().clone()));
            Poll::Pending
        }));
        tasks.spawn(async { baton.set(1) });
        assert_eq!(tasks.len(), 2);
        assert!(tasks.run_woken());
        assert_eq!(tasks.len(), 1);
        assert!(!tasks.run_woken(), "nobody has woken the first task");
        tasks.run(&idler, || {
            if idler.0.get() == 4 {
                baton.set(2);
                if let Some(waker) = waiting.take() {
                    waker.wake();
                }
            }
        });
        assert!(tasks.is_empty());
        assert_eq!((idler.0.get(), polls.get()), (4, 2));
    }
}
