//! VMBus for Hyper-V guests: how a guest talks to the synthetic devices of its host.
//!
//! The crate has a core and fronts. The core is free of I/O: [`protocol`] (every message of the versions 0.13
//! to 6.0, both ways), [`connection`] (the guest's state machine of the control plane), [`gpadl`] (memory
//! lent to the host), [`ring`] and [`packet`] (the data plane). It has no clock, lock, thread or sleep, and
//! an interrupt handler, a simulation or a fuzzer can drive it. The fronts [`bus`] and [`channel`] put
//! `async` on top, and [`executor`] runs that on bare metal.
//!
//! Nothing that a host says is trusted: lengths, indices and ids are read once, checked, and then used;
//! a lie ends in a typed error and a counter, never in a panic, in unbounded memory, or in memory being
//! used again that the host may still write.
//!
//! # Embedding it in an operating system
//!
//! The system provides a [`Platform`](platform::Platform) (pages to share, and their frame numbers), a
//! [`Runtime`](platform::Runtime) (a clock, and waiting for an interrupt) and, from the `hypercall` crate, a
//! [`Processor`](hypercall::Processor) and a running [`Synic`](hypercall::synic::Synic). The handler of the
//! SynIC's vector only acknowledges; the loop of each processor calls [`Bus::dispatch`](bus::Bus::dispatch).
//!
//! ```
//! use std::sync::Arc;
//!
//! use hypercall::Processor;
//! use vmbus_core::bus::{Bus, BusError, BusOptions, BusProcessor, OpenOptions};
//! use vmbus_core::class;
//! use vmbus_core::executor::block_on;
//! use vmbus_core::packet::{OutgoingKind, OutgoingPacket};
//! use vmbus_core::platform::Runtime;
//!
//! /// Sends one packet to the first SCSI controller and waits for one. Real drivers are in crates of
//! /// their own.
//! fn talk_to_a_controller<R: Runtime, C: Processor>(
//!     runtime: Arc<R>,
//!     processor: BusProcessor<C>, // the boot processor, its SynIC enabled
//! ) -> Result<(), BusError> {
//!     let vp = processor.vp_index;
//!     let bus = Bus::new(runtime.clone(), processor, BusOptions::default())?;
//!     let work = async {
//!         bus.reconnect().await?;
//!         let offers = bus.enumerate().await?;
//!         let Some(offer) = offers.iter().find(|offer| offer.interface() == class::SCSI) else {
//!             return bus.disconnect().await;
//!         };
//!         let mut channel = bus.open(offer, OpenOptions::default()).await?;
//!         let event = channel.event();
//!
//!         let packet = OutgoingPacket {
//!             transaction_id: 1,
//!             completion_requested: true,
//!             kind: OutgoingKind::InBand,
//!             payload: &[b"a request of the device's protocol"],
//!         };
//!         let (outgoing, _) = channel.rings();
//!         if let Ok(signal) = outgoing.send(&packet) {
//!             channel.signal_host(signal);
//!         }
//!         while event.wait().await.is_ok() {
//!             let parts = channel.parts();
//!             let Ok(mut batch) = parts.incoming.batch() else { break };
//!             let answer = batch.next(parts.buffer);
//!             let done = !matches!(answer, Ok(None));
//!             let signal = batch.commit();
//!             channel.signal_host(signal);
//!             if done {
//!                 break;
//!             }
//!         }
//!         channel.close().await?;
//!         bus.disconnect().await
//!     };
//!     // A kernel with tasks spawns the future; a boot loader blocks on it.
//!     block_on(&*runtime, work, || bus.dispatch(vp))
//! }
//! ```
//!
//! # For tests and fuzzers
//!
//! [`HostMessage::parse`](protocol::HostMessage::parse) and
//! [`GuestMessage::parse`](protocol::GuestMessage::parse) take any bytes, and so does
//! [`Connection::handle_message`](connection::Connection::handle_message) in any state. The feature `testing`
//! adds rings whose every word a test can forge.
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

extern crate alloc;

pub mod bus;
pub mod channel;
pub mod class;
pub mod connection;
pub mod executor;
pub mod gpadl;
pub mod guid;
mod open_enum;
pub mod packet;
pub mod pipe;
pub mod platform;
pub mod protocol;
pub mod ring;
pub mod shared;
pub mod transaction;
pub mod version;
