//! The messages of keyboard and mouse as they lie in a VMBus packet.
//!
//! All integers are little-endian and nothing is aligned. The mouse's messages lie in pipe frames; the
//! keyboard's are the packet's payload itself.

mod error;
pub mod hid;
pub mod keyboard;
pub mod mouse;

pub use error::MessageError;
