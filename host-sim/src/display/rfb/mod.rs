//! A server for VNC clients: the remote framebuffer protocol (RFC 6143), versions 3.3, 3.7 and 3.8, without
//! authentication, and therefore on loopback addresses and Unix sockets only.
//!
//! | File | Holds |
//! |---|---|
//! | `message` | what clients send, parsed from bytes |
//! | `pixel_format` | pixels as a client wants them |
//! | `encode` | rectangles as a client wants them |
//! | `input` | keys and buttons of one client |
//! | `session` | one client: a state machine, bytes in, bytes out |
//! | `scan` | what has changed, for guests that don't tell |
//! | `listener` | sockets |
//! | `server` | the thread that serves them all |

mod encode;
mod input;
mod listener;
mod message;
mod pixel_format;
mod scan;
mod server;
mod session;
#[cfg(test)]
mod tests;

pub use listener::{InvalidAddress, ListenAddress, ListenError};
pub use message::RfbError;
pub use server::{Console, RfbOptions, RfbServer};
pub use session::{Event, Session};
