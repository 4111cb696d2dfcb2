//! A learning switch between guests of several processes.
//!
//! A [`Switch`] listens on a Unix socket, which only its user may open; every [`SwitchPort`] is one connection. A port
//! that finds nobody listening starts the switch itself, so the first guest's process is the switch, and when that
//! ends one of the others takes its place. `host-sim switch PATH` runs one that outlives all guests.
//!
//! The switch learns which address is behind which port, for each VLAN, and forwards; what it does not know it sends
//! to all others. Nobody waits for a slow port: its queue is bounded, and what does not fit is dropped.

mod port;
mod server;
mod table;

pub use port::SwitchPort;
pub use server::{Switch, SwitchCounters};
