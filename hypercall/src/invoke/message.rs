//! PostMessage and SignalEvent.

use core::sync::atomic::{Ordering, fence};
use core::time::Duration;

use zerocopy::IntoBytes;

use super::{ParameterPage, fast, slow};
use crate::Processor;
use crate::call::{PostMessage, SignalEvent, Status};

/// Posts a message, once.
///
/// Messages of one connection arrive in the order in which they were posted.
///
/// # Errors
///
/// The hypervisor's status. [`RetryPolicy`] tells which are worth another try.
pub fn post_message<P: Processor + ?Sized>(
    processor: &P,
    page: &mut ParameterPage,
    message: &PostMessage,
) -> Result<(), Status> {
    page.fill(&[message.as_bytes()])
        .map_err(|_| Status::INVALID_PARAMETER)?;
    // SAFETY: the call reads the page and has no output; a message does
    // nothing to the sender's memory.
    unsafe { slow(processor, PostMessage::CONTROL, page) }
}

/// Signals an event flag of a connection. VMBus uses flag 0.
///
/// All earlier writes of the caller, such as those to a ring, are visible to
/// whoever the signal wakes.
///
/// # Errors
///
/// The hypervisor's status.
pub fn signal_event<P: Processor + ?Sized>(
    processor: &P,
    connection_id: u32,
    flag_number: u16,
) -> Result<(), Status> {
    fence(Ordering::SeqCst);
    let input = SignalEvent::new(connection_id, flag_number).to_register();
    // SAFETY: a signal does nothing to the sender's memory.
    unsafe { fast(processor, SignalEvent::CONTROL, [input, 0]) }
}

/// When to post a message again that could not be posted.
///
/// The port's buffers may be full, the hypervisor short of memory, or the
/// connection not made yet; that passes. The policy is a state machine without
/// a clock: ask it after each failure, wait as long as it says, try again.
///
/// ```
/// use core::time::Duration;
/// use hypercall::call::Status;
/// use hypercall::invoke::RetryPolicy;
///
/// fn send(
///     mut post: impl FnMut() -> Result<(), Status>,
///     mut wait: impl FnMut(Duration),
/// ) -> Result<(), Status> {
///     let mut policy = RetryPolicy::new();
///     while let Err(status) = post() {
///         wait(policy.delay_after(status).ok_or(status)?);
///     }
///     Ok(())
/// }
///
/// let mut answers = [Err(Status::INSUFFICIENT_BUFFERS), Ok(())].into_iter();
/// let mut waited = Duration::ZERO;
/// assert_eq!(send(|| answers.next().unwrap(), |delay| waited += delay), Ok(()));
/// assert_eq!(waited, Duration::from_micros(1));
/// assert_eq!(
///     send(|| Err(Status::ACCESS_DENIED), |_| unreachable!()),
///     Err(Status::ACCESS_DENIED)
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    retries: u32,
    delay: Duration,
    unknown_connection_is_final: bool,
}

impl RetryPolicy {
    /// Retries before the policy gives up.
    pub const RETRIES: u32 = 100;

    /// Delay before the first retry. It doubles until the delay before retry
    /// 22, and is the same from there on.
    pub const FIRST_DELAY: Duration = Duration::from_micros(1);

    /// Longest delay, about two seconds.
    pub const LONGEST_DELAY: Duration = Duration::from_micros(1 << 21);

    /// The policy for messages over an established connection.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            retries: 0,
            delay: Self::FIRST_DELAY,
            unknown_connection_is_final: false,
        }
    }

    /// The policy for the first message of VMBus, INITIATE_CONTACT: an unknown
    /// connection id means that another one is to be tried, and is final.
    #[must_use]
    pub const fn initiate_contact() -> Self {
        Self {
            unknown_connection_is_final: true,
            ..Self::new()
        }
    }

    /// How long to wait before the next try; `None` if the status is final or
    /// the retries are used up.
    pub fn delay_after(&mut self, status: Status) -> Option<Duration> {
        let transient = match status {
            Status::INSUFFICIENT_MEMORY | Status::INSUFFICIENT_BUFFERS => true,
            Status::INVALID_CONNECTION_ID => !self.unknown_connection_is_final,
            _ => false,
        };
        if !transient || self.retries == Self::RETRIES {
            return None;
        }
        self.retries += 1;
        let delay = self.delay;
        self.delay = delay.saturating_mul(2).min(Self::LONGEST_DELAY);
        Some(delay)
    }

    /// Retries so far.
    #[must_use]
    pub const fn retries(&self) -> u32 {
        self.retries
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new()
    }
}
