//! A guest's memory, clock and executor, for tests.

use core::alloc::Layout;
use core::future::Future;
use core::pin::Pin;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use std::boxed::Box;
use std::sync::Arc;
use std::task::Wake;
use std::vec::Vec;

use vmbus_core::platform::{PAGE_SIZE, Platform, Runtime, SharedPages};

use super::host::TestHost;

/// Memory whose page frames are the process's own page numbers, and a clock that tests turn.
#[derive(Default)]
pub(crate) struct Machine {
    clock: AtomicU64,
    pub(crate) allocated: AtomicUsize,
    pub(crate) freed: AtomicUsize,
    /// Refuse to allocate.
    pub(crate) exhausted: AtomicBool,
}

fn layout(pages: usize) -> Layout {
    Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE).unwrap()
}

// SAFETY: the pages come zeroed and aligned from the global allocator and stay until they are freed.
unsafe impl Platform for Machine {
    fn allocate_shared(&self, pages: usize) -> Option<SharedPages> {
        if self.exhausted.load(Ordering::Relaxed) {
            return None;
        }
        self.allocated.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the layout is not empty.
        let base = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout(pages)) })?;
        // SAFETY: freshly allocated, page-aligned, nobody else has it.
        Some(unsafe { SharedPages::from_raw(base, pages) })
    }

    unsafe fn free_shared(&self, pages: SharedPages) {
        self.freed.fetch_add(1, Ordering::Relaxed);
        // A host that writes to freed memory would show in the test's own data: overwrite it.
        // SAFETY: from `allocate_shared`, with the same layout.
        unsafe {
            pages.base().as_ptr().write_bytes(0xDD, pages.byte_count());
            std::alloc::dealloc(pages.base().as_ptr(), layout(pages.page_count()));
        }
    }

    fn page_frame(&self, pages: &SharedPages, index: usize) -> u64 {
        assert!(index < pages.page_count());
        (pages.base().as_ptr() as usize / PAGE_SIZE + index) as u64
    }
}

impl Runtime for Machine {
    fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn idle(&self) {
        self.advance(10_000);
    }
}

impl Machine {
    pub(crate) fn advance(&self, time: u64) {
        self.clock.fetch_add(time, Ordering::Relaxed);
    }

    /// Buffers neither freed nor in use by the test.
    pub(crate) fn in_use(&self) -> usize {
        self.allocated.load(Ordering::Relaxed) - self.freed.load(Ordering::Relaxed)
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

type Task<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Polls tasks, each only when it was woken. When no task is woken the host works; when the host
/// has nothing to do either, time passes if `timers` is set, and all tasks are polled.
///
/// # Panics
///
/// If nothing happens any more: a wake-up was lost.
pub(crate) fn run_all(machine: &Machine, host: &TestHost, timers: bool, tasks: Vec<Task<'_>>) {
    let mut tasks: Vec<_> = tasks
        .into_iter()
        .map(|task| (task, Arc::new(Flag(AtomicBool::new(true)))))
        .collect();
    let mut idle = 0u64;
    while !tasks.is_empty() {
        let mut polled = false;
        tasks.retain_mut(|(task, flag)| {
            if !flag.0.swap(false, Ordering::SeqCst) {
                return true;
            }
            polled = true;
            let waker = Waker::from(flag.clone());
            task.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Pending
        });
        let worked = host.work();
        // A microsecond a round, so that tasks which stay awake for a pause come to its end.
        machine.advance(10);
        if polled || worked {
            idle = 0;
            continue;
        }
        idle += 1;
        assert!(timers && idle < 1_000_000, "nothing happens any more");
        // Time runs faster the longer nothing happens.
        machine.advance(10_000 * idle);
        for (_, flag) in &tasks {
            flag.0.store(true, Ordering::SeqCst);
        }
    }
}

/// Runs one future to its end.
pub(crate) fn run<T>(machine: &Machine, host: &TestHost, future: impl Future<Output = T>) -> T {
    let mut result = None;
    let place = &mut result;
    run_all(
        machine,
        host,
        true,
        std::vec![Box::pin(async move { *place = Some(future.await) })],
    );
    result.unwrap()
}

/// Polls a future once.
pub(crate) fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
