//! For tests and benchmarks: a guest's end of the network protocol that says whatever a test wants it to say.
//!
//! ```
//! use host_sim::net::{Capabilities, Frame, pair::Pair};
//! use host_sim::vsp::network::NetworkOptions;
//! use host_sim::vsp::network::testing::{Guest, Shape};
//! use vsc_net::wire::nvsp::Version;
//!
//! let cable = Pair::new(Capabilities::default());
//! let options = NetworkOptions::for_slot("example", 0)?;
//! let mut guest = Guest::ready(options, cable.clone(), Version::V6_1);
//!
//! // To the network …
//! let frame = guest.frame([0xFF; 6], &[1, 2, 3]);
//! assert!(guest.transmit(0, &frame, &Default::default(), Shape::Direct));
//! assert_eq!(cable.collect(), Some(Frame::new(frame.clone())));
//! // … and from it.
//! cable.deliver(Frame::new(frame.clone()));
//! assert_eq!(guest.receive(0)[0].bytes, frame);
//! # Ok::<(), host_sim::vsp::network::ConfigError>(())
//! ```

mod channel;
mod guest;
mod machine;

pub use channel::{PacketKind, ReceivedPacket, TestChannel};
pub use guest::{Guest, ReceivedFrame, Shape};
pub use machine::Machine;
