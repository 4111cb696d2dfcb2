//! The shutdown service, host end: asks the guest to power off, restart or hibernate.

use ic_services::shutdown::Action;
use ic_services::wire::{
    MessageType, SHUTDOWN_TEXT_LENGTH, ShutdownBody, ShutdownFlags, Status, Version,
};
use thiserror::Error;
use vmbus_core::class;
use zerocopy::IntoBytes;

use super::channel::{HostService, ServiceChannel, Shared};
use super::session::{Offered, SessionFault};
use super::versions::ServiceVersions;
use crate::vmbus::vsp::{
    ChannelServices, OfferDescription, OpenRefused, OpenRequest, PollWaker, Vsp, VspChannel,
};

/// The versions that the host offers unless told otherwise.
const VERSIONS: ServiceVersions = ServiceVersions::fixed(
    &[Version::new(1, 0), Version::new(3, 0)],
    &[
        Version::new(1, 0),
        Version::new(3, 0),
        Version::new(3, 1),
        Version::new(3, 2),
    ],
);

/// Reason code of an order that somebody planned.
const PLANNED: u32 = 0x8000_0000;

/// An order to the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What to do.
    pub action: Action,
    /// Don't wait for applications.
    pub force: bool,
    /// Seconds that the guest has; 0 says nothing.
    pub timeout_seconds: u32,
    /// Text that the guest may show; what does not fit into 1023 UTF-16 units is cut.
    pub text: String,
}

impl Order {
    /// The order without force, timeout or text.
    #[must_use]
    pub fn new(action: Action) -> Self {
        Self {
            action,
            force: false,
            timeout_seconds: 0,
            text: String::new(),
        }
    }

    fn to_body(&self) -> Vec<u8> {
        let mut flags = match self.action {
            Action::PowerOff => ShutdownFlags::empty(),
            Action::Restart => ShutdownFlags::RESTART,
            Action::Hibernate => ShutdownFlags::HIBERNATE,
        };
        flags.set(ShutdownFlags::FORCE, self.force);
        let body = ShutdownBody {
            reason: PLANNED.into(),
            timeout: self.timeout_seconds.into(),
            flags: flags.bits().into(),
        };
        let mut bytes = body.as_bytes().to_vec();
        let units = self.text.encode_utf16().take(SHUTDOWN_TEXT_LENGTH / 2 - 1);
        bytes.extend(units.flat_map(u16::to_le_bytes));
        bytes.resize(size_of::<ShutdownBody>() + SHUTDOWN_TEXT_LENGTH, 0);
        bytes
    }
}

/// Why an order was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotOrdered {
    /// The guest has not opened the service or negotiated a version.
    #[error("the guest's shutdown service is not ready")]
    NotReady,
    /// An earlier order has no answer yet.
    #[error("an earlier order has not been answered yet")]
    AlreadyInProgress,
}

/// How far the last order got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// None was given.
    None,
    /// Waiting to be sent or answered.
    Pending,
    /// The guest accepted it and is at it.
    Accepted,
    /// The guest refused it with this status.
    Refused(u32),
    /// The channel went away, or the guest broke the protocol, before an answer came.
    Abandoned,
}

struct State {
    ready: bool,
    waiting: Option<Vec<u8>>,
    progress: Progress,
    waker: Option<PollWaker>,
}

impl State {
    fn abandon(&mut self) {
        self.ready = false;
        self.waiting = None;
        if self.progress == Progress::Pending {
            self.progress = Progress::Abandoned;
        }
    }
}

impl HostService for State {
    fn opened(&mut self, waker: PollWaker) {
        self.waker = Some(waker);
    }

    fn negotiated(&mut self, _version: Version, _now: u64) {
        self.ready = true;
    }

    fn request(&mut self, _now: u64) -> Option<Vec<u8>> {
        self.waiting.take()
    }

    fn unsent(&mut self, body: Vec<u8>) {
        self.waiting = Some(body);
    }

    fn deadline(&mut self, _now: u64) -> Option<u64> {
        None
    }

    fn answer(&mut self, status: Status, _body: &[u8], _now: u64) {
        self.progress = match status {
            Status::OK => Progress::Accepted,
            Status(code) => Progress::Refused(code.get()),
        };
    }

    fn failed(&mut self, _fault: SessionFault) {
        self.abandon();
    }

    fn closed(&mut self) {
        self.waker = None;
        self.abandon();
    }
}

/// The service's device on the bus.
pub struct Shutdown {
    versions: ServiceVersions,
    state: Shared<State>,
}

/// Gives orders; clones share the service.
#[derive(Clone)]
pub struct ShutdownHandle {
    state: Shared<State>,
}

impl Shutdown {
    /// A service without an order.
    #[must_use]
    pub fn new() -> (Self, ShutdownHandle) {
        Self::with_versions(VERSIONS)
    }

    /// As [`new`](Self::new), with the versions that another host offers.
    #[must_use]
    pub fn with_versions(versions: ServiceVersions) -> (Self, ShutdownHandle) {
        let state = Shared::new(State {
            ready: false,
            waiting: None,
            progress: Progress::None,
            waker: None,
        });
        (
            Self {
                versions,
                state: state.clone(),
            },
            ShutdownHandle { state },
        )
    }
}

impl ShutdownHandle {
    /// Whether an order would be sent now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state.lock().ready
    }

    /// Gives an order to the guest.
    ///
    /// # Errors
    /// [`NotOrdered`] if the guest can't take one now.
    pub fn order(&self, order: &Order) -> Result<(), NotOrdered> {
        let mut state = self.state.lock();
        if !state.ready {
            return Err(NotOrdered::NotReady);
        }
        if state.progress == Progress::Pending {
            return Err(NotOrdered::AlreadyInProgress);
        }
        state.waiting = Some(order.to_body());
        state.progress = Progress::Pending;
        let waker = state.waker.clone();
        // The channel takes the lock when it is woken.
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// How far the last order got.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.state.lock().progress
    }
}

impl Vsp for Shutdown {
    fn offer(&self) -> OfferDescription {
        OfferDescription::message_pipe(class::SHUTDOWN, class::instance::SHUTDOWN)
    }

    fn open(
        &mut self,
        _request: OpenRequest,
        services: ChannelServices,
    ) -> Result<Box<dyn VspChannel>, OpenRefused> {
        Ok(Box::new(ServiceChannel::new(
            Offered {
                message_type: MessageType::SHUTDOWN,
                versions: self.versions.clone(),
            },
            self.state.clone(),
            &services,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // SD4h
    #[test]
    fn orders_are_taken_one_at_a_time() {
        let (_, handle) = Shutdown::new();
        let order = Order::new(Action::PowerOff);
        assert_eq!(handle.order(&order), Err(NotOrdered::NotReady));
        handle.state.lock().negotiated(Version::new(3, 2), 0);
        assert_eq!(handle.order(&order), Ok(()));
        assert_eq!(handle.order(&order), Err(NotOrdered::AlreadyInProgress));
        assert!(handle.state.lock().request(0).is_some());
        handle.state.lock().answer(Status::FAIL, &[], 0);
        assert_eq!(handle.progress(), Progress::Refused(0x8000_4005));
        assert_eq!(handle.order(&order), Ok(()));
        handle.state.lock().closed();
        assert_eq!(handle.progress(), Progress::Abandoned);
    }

    #[test]
    fn the_text_is_cut_to_its_field() {
        let order = Order {
            text: "🦀".repeat(2000),
            ..Order::new(Action::Restart)
        };
        let body = order.to_body();
        assert_eq!(body.len(), 2060);
        assert_eq!(body[8], 2);
        assert_eq!(body[2058..], [0, 0]);
    }
}
