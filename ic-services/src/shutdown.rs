//! The shutdown service, guest end: the host orders power-off, restart or hibernation.

use zerocopy::FromBytes;

use crate::service::Service;
use crate::session::{Definition, Dropped, Received, Session};
use crate::wire::{MessageType, ShutdownBody, ShutdownFlags, Status, Version};

const DEFINITION: Definition = Definition {
    message_type: MessageType::SHUTDOWN,
    frameworks: &[Version::new(3, 0), Version::new(1, 0)],
    versions: &[
        Version::new(3, 2),
        Version::new(3, 1),
        Version::new(3, 0),
        Version::new(1, 0),
    ],
    // Without the display text, which is never needed.
    least_body: size_of::<ShutdownBody>(),
};

/// What the host wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Power off.
    PowerOff,
    /// Restart.
    Restart,
    /// Hibernate.
    Hibernate,
}

/// The host's order, to be carried out after the reply is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// What to do.
    pub action: Action,
    /// Don't wait for applications.
    pub force: bool,
    /// The host's reason code; 0x80000000 is "planned".
    pub reason: u32,
    /// Seconds until the host loses patience; 0 means that it doesn't say.
    pub timeout_seconds: u32,
}

/// What the operating system answers about itself.
pub trait OperatingSystem {
    /// Whether this action can be carried out here (hibernation often can't).
    fn can(&self, action: Action) -> bool;
}

/// Answers shutdown requests on one channel.
#[derive(Debug)]
pub struct Shutdown<O> {
    session: Session,
    system: O,
    running: bool,
}

impl<O: OperatingSystem> Shutdown<O> {
    /// A service that has no order to carry out yet.
    pub const fn new(system: O) -> Self {
        Self {
            session: Session::new(DEFINITION),
            system,
            running: false,
        }
    }

    /// Says that an order could not be carried out, so that the next one is taken again.
    pub const fn order_failed(&mut self) {
        self.running = false;
    }
}

/// Reads the order out of a request's body, or the status that refuses it.
fn read_order(body: &[u8]) -> Result<Order, Status> {
    let (body, _) = ShutdownBody::read_from_prefix(body).map_err(|_| Status::FAIL)?;
    let flags = ShutdownFlags::from_bits(body.flags.get()).ok_or(Status::FAIL)?;
    let action = match flags - ShutdownFlags::FORCE {
        what if what.is_empty() => Action::PowerOff,
        ShutdownFlags::RESTART => Action::Restart,
        ShutdownFlags::HIBERNATE => Action::Hibernate,
        _ => return Err(Status::FAIL),
    };
    Ok(Order {
        action,
        force: flags.contains(ShutdownFlags::FORCE),
        reason: body.reason.get(),
        timeout_seconds: body.timeout.get(),
    })
}

impl<O: OperatingSystem> Service for Shutdown<O> {
    type Order = Order;

    fn session(&self) -> &Session {
        &self.session
    }

    fn handle(&mut self, payload: &mut [u8]) -> Result<Option<Order>, Dropped> {
        let Received::Request(mut request) = self.session.receive(payload)? else {
            return Ok(None);
        };
        let order = read_order(request.body()).and_then(|order| {
            if self.system.can(order.action) {
                Ok(order)
            } else {
                Err(Status::FAIL)
            }
        });
        Ok(match order {
            Err(status) => {
                request.answer(status);
                None
            }
            Ok(order) => {
                request.answer(Status::OK);
                // The host may repeat itself while we are at it: answer, act once.
                (!core::mem::replace(&mut self.running, true)).then_some(order)
            }
        })
    }
}
