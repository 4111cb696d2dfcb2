//! Synthetic network adapters.
//!
//! A [`NetworkAdapter`] is the device that the VMBus server offers, plugged into a
//! [`NetworkBackend`](crate::net::NetworkBackend); its [`NetworkHandle`] pulls the cable and reads counters while a
//! guest uses it.
//!
//! ```text
//!            ┌ control ─▶ NVSP state machine ─▶ RNDIS, OIDs ─▶ settings
//! packet ────┤
//!            └ data ────▶ stream of RNDIS packets ─▶ frame ─▶ offloads ─▶ back end
//!
//! back end ─▶ filter, VLAN, checksum ─▶ queue by hash ─▶ section of the receive buffer ─▶ transfer-page packet
//! ```
//!
//! The primary channel takes frames from the back end and gives each queue its own; every channel delivers and sends
//! by itself. What the control plane decides is published as a whole, an immutable `Settings`, which channels pick up
//! before they work.
//!
//! # Flow
//! - Sending never waits: the back end takes a frame or it is lost and counted. So the ring from the guest is always
//!   read, as long as there is room for completions in the other one, a part of which frames received never fill.
//! - Receiving waits: without a free section or room in the ring, frames stay in the channel's queue, then in the
//!   back end's. Sections for control messages are kept apart.
//!
//! # Guest memory
//! Buffers are [lent](crate::vmbus::lent) by GPADL and returned when the guest revokes them or the primary channel is
//! closed. Channels use them under a lock that the return waits for.
//!
//! | Module | What |
//! |---|---|
//! | [`protocol`] | NVSP as a state machine |
//! | [`toeplitz`] | the hash of receive-side scaling |
//! | [`testing`] | a guest's end of the protocol |

mod adapter;
mod buffers;
mod channel;
mod control;
mod counters;
mod deliver;
mod distribute;
mod handle;
mod identity;
mod link;
mod offload;
mod oid;
mod outbox;
pub mod protocol;
mod scaling;
mod sections;
mod settings;
mod shared;
mod stream;
pub mod testing;
pub mod toeplitz;
mod transmit;
mod vlan;

pub use adapter::{ConfigError, NetworkAdapter, NetworkOptions};
pub use counters::NetworkCounters;
pub use handle::{NetworkHandle, NetworkSnapshot};
pub use identity::{MAX_ADAPTERS, instance};
pub use settings::OffloadSettings;
pub use vlan::VlanMode;

/// Most channels of one adapter, the primary one included.
pub const MAX_CHANNELS: u16 = 64;
/// Bytes of a section of the send buffer.
pub const SEND_SECTION_SIZE: u32 = 6144;
/// Bytes in front of the frame in a section of the receive buffer: RNDIS header and per-packet information.
pub const RECEIVE_HEADROOM: u32 = 256;
/// Bytes at the end of a receive section that Windows is known not to use.
const RECEIVE_TAIL: u32 = 36;
/// Bytes of the longest frame of adapters whose guest does not say: an Ethernet header and 1500 bytes.
pub const DEFAULT_MTU: u32 = 1514;
/// Bytes of the longest frame that a guest may ask for.
pub const MAX_MTU: u32 = 9216;
/// Largest buffer that a guest may lend, in bytes.
const MAX_BUFFER: u64 = 64 << 20;

/// Bytes of a section of the receive buffer for frames of up to `mtu` bytes and a VLAN tag.
const fn receive_section_size(mtu: u32) -> u32 {
    (RECEIVE_HEADROOM + mtu + 4 + RECEIVE_TAIL).next_multiple_of(32)
}
