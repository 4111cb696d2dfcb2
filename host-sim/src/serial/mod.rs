//! Serial ports, and what is at the other end of their lines.

mod endpoint;
mod output;
mod port;
mod socket;

pub use endpoint::{Endpoint, EndpointError, Feeder, Opened};
pub use output::{Capture, LineOutput};
pub use port::{Output, PORT_COUNT, SerialPort};
pub use socket::SerialSocket;
