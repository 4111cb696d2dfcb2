//! Hyper-V integration services, guest end: heartbeat and shutdown; and what the messages of all services look
//! like, for both ends.
//!
//! Each service is a state machine without I/O ([`service::Service`]): the private copy of a packet goes
//! in, the reply stands in its place, and what the host orders comes out, to be carried out after the
//! reply is on its way. [`service::step`] drives one on the two rings of its channel, from an interrupt
//! handler, a task or a test. The operating system stands behind a small trait.
//!
//! ```
//! use ic_services::service::Service;
//! use ic_services::shutdown::{Action, OperatingSystem, Shutdown};
//!
//! struct MyKernel;
//!
//! impl OperatingSystem for MyKernel {
//!     fn can(&self, action: Action) -> bool {
//!         action != Action::Hibernate
//!     }
//! }
//!
//! let mut service = Shutdown::new(MyKernel);
//! // What the host sends first: framework 3.0 and shutdown 3.0 or 3.2, to choose from.
//! let mut packet = [
//!     1, 0, 0, 0, 40, 0, 0, 0, // pipe: data, 40 bytes
//!     0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 3, 0, 0, // negotiation, 20 bytes of body
//!     1, 0, 2, 0, 0, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, 3, 0, 2, 0,
//! ];
//! assert_eq!(service.handle(&mut packet), Ok(None));
//! // The packet has become the reply.
//! assert_eq!(service.session().agreement().unwrap().version.to_string(), "3.2");
//! ```
#![no_std]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

#[cfg(test)]
extern crate alloc;

pub mod file_copy;
pub mod heartbeat;
pub mod kvp;
pub mod service;
pub mod session;
pub mod shutdown;
pub mod text;
pub mod time_sync;
pub mod vss;
pub mod wire;
