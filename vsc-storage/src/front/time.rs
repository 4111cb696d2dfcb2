//! Deadlines and pauses by a runtime's clock.
//!
//! There are no timers: a deadline looks at the clock whenever it is polled, and counts on an
//! executor that polls its tasks now and then, as [`block_on`](vmbus_core::executor::block_on) does
//! after every [`Runtime::idle`]. Only pauses, which are short, keep their task awake.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use alloc::sync::Arc;

use vmbus_core::platform::Runtime;

/// A runtime that several processors use.
pub type SharedRuntime = Arc<dyn Runtime + Send + Sync>;

/// Units of [`Runtime::now`] in a second.
pub const SECOND: u64 = 10_000_000;

/// Ready when a time has come.
pub(super) struct Pause {
    runtime: SharedRuntime,
    end: u64,
}

impl Pause {
    /// A pause of `length` units of 100 ns from now.
    pub(super) fn new(runtime: &SharedRuntime, length: u64) -> Self {
        Self {
            runtime: runtime.clone(),
            end: runtime.now().saturating_add(length),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.runtime.now() >= self.end
    }
}

impl Future for Pause {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.is_over() {
            Poll::Ready(())
        } else {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    }
}

/// The time of [`within`] has elapsed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elapsed;

impl core::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("took too long")
    }
}

impl core::error::Error for Elapsed {}

/// Gives up on `future` after `length` units of 100 ns.
///
/// The clock is only looked at when the future is polled: with an executor that polls woken tasks
/// only, somebody has to wake this one now and then.
///
/// A read or write given up leaves its buffer with the controller until the host is done with it.
///
/// # Errors
///
/// [`Elapsed`] if the future was not ready in time.
pub async fn within<F: Future>(
    runtime: &SharedRuntime,
    length: u64,
    future: F,
) -> Result<F::Output, Elapsed> {
    let mut future = core::pin::pin!(future);
    let pause = Pause::new(runtime, length);
    core::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending if pause.is_over() => Poll::Ready(Err(Elapsed)),
        Poll::Pending => Poll::Pending,
    })
    .await
}
