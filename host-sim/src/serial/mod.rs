//! Serial ports, and what is at the other end of their lines.

mod endpoint;
mod output;
mod port;
mod queued;
mod socket;
mod standard;

pub use endpoint::{Endpoint, EndpointError, Feeder, Opened};
pub use output::{Capture, LineOutput};
pub use port::{Output, PORT_COUNT, SerialPort};
pub use queued::QueuedOutput;
pub use socket::SerialSocket;
pub use standard::Standard;
