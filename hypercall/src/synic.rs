//! The synthetic interrupt controller: messages and event flags.
//!
//! Each virtual processor shares two pages with the hypervisor. The message
//! page has a slot for one message of each of the 16 interrupt sources
//! (SINTs); the event flags page has 2048 flags for each. [`Synic::enable`]
//! hands the pages over on the virtual processor that runs it, and
//! [`Synic::read_message`] and [`Synic::scan_event_flags`] follow the protocols
//! by which no message and no wakeup is lost.
//!
//! The page types are arrays of atomics and of use to both ends.
//!
//! Isolated partitions with a paravisor get their pages from the paravisor;
//! that is not supported here.

mod control;
mod event_flags;
mod message_page;

pub use crate::msr::SintIndex;
pub use control::{EnableError, Source, Synic, SynicPage, SynicPages, mask, unmask};
pub(crate) use control::{set_page, switch_off};
pub use event_flags::{
    EVENT_FLAG_COUNT, EVENT_FLAGS_SIZE, EventFlagPosition, EventFlagsPage, scan_event_flags,
};
pub use message_page::{
    MESSAGE_PENDING, MESSAGE_SLOT_SIZE, Message, MessageHeader, MessagePage, MessageSizeError,
    MessageSlot, ReadMessageError, TakenMessage, end_of_message, read_message, slot,
};

#[cfg(test)]
mod tests;
