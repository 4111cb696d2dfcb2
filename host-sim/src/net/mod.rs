//! What a network adapter is plugged into.
//!
//! A [`NetworkBackend`] takes frames from a guest's adapter and has frames for it. It never waits: what it cannot send
//! is dropped and counted, as on a wire, and what it has received waits in a bounded queue, whose filling up holds the
//! sender back where that is possible.
//!
//! | Module | Back end |
//! |---|---|
//! | [`tap`] | a TAP interface of the host, with checksum and segmentation offload |
//! | [`passt`] | user-mode networking by passt, without privileges |
//! | [`peer`] | a small network in this process: DHCP, ping, TCP services |
//! | [`switch`] | a learning switch between guests of several processes |
//! | [`pair`] | the other end in the same process: tests |
//!
//! Below them lies what they and the adapter share:
//!
//! | Module | What |
//! |---|---|
//! | [`frame`] | frames and what is left to be done with them |
//! | [`headers`] | Ethernet, VLAN, IP and TCP headers of a frame |
//! | [`checksum`], [`segment`] | offloads in software |
//! | [`mac`] | addresses |
//! | [`queue`], [`stream`] | frames between threads, and over a socket |
//! | [`option`](mod@option) | back ends by name |

pub mod argument;
pub mod backend;
pub mod checksum;
pub mod frame;
pub mod headers;
pub mod mac;
pub mod option;
pub mod pair;
pub mod passt;
pub mod peer;
pub mod queue;
pub mod segment;
pub mod stream;
pub mod switch;
pub mod tap;

pub use argument::NicArgument;
pub use backend::{BackendError, BackendWaker, Capabilities, Link, NetworkBackend, SendError};
pub use frame::{Frame, Offload, PartialChecksum, Segmentation};
pub use mac::MacAddress;
pub use option::BackendOption;

/// Bytes of the longest frame that a back end carries: the longest IP packet, an Ethernet header and a VLAN tag.
pub const MAX_FRAME: usize = 65_535 + 14 + 4;
/// Frames that wait in one direction of a back end.
pub const QUEUE_FRAMES: usize = 1024;
/// Bytes of frames that wait in one direction of a back end.
pub const QUEUE_BYTES: usize = 4 << 20;
