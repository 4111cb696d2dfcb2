//! How a bus connects, and why it may not.

use core::fmt;

use hypercall::synic::Synic;

use crate::connection::{ConnectError, RequestError};
use crate::gpadl::GpadlError;
use crate::guid::Guid;
use crate::protocol::USER_DATA_SIZE;
use crate::version::{FeatureFlags, ProtocolVersion};

/// One second in the unit of [`Runtime::now`](crate::platform::Runtime::now), 100 ns.
pub const SECOND: u64 = 10_000_000;

/// How to connect.
#[derive(Clone, Debug)]
pub struct BusOptions {
    /// The newest protocol version to propose.
    pub newest: ProtocolVersion,
    /// The oldest protocol version to propose.
    pub oldest: ProtocolVersion,
    /// Features to ask for from 6.0 on, as far as they are implemented.
    pub features: FeatureFlags,
    /// Who we are, for hosts from 6.0 on that tell clients apart.
    pub client_id: Option<Guid>,
    /// How long to wait for the connection, over all versions, in units of 100 ns. The host may first have
    /// to end an earlier connection.
    pub connect_timeout: u64,
    /// How long to wait for the answer to any other request, in units of 100 ns.
    pub request_timeout: u64,
    /// How long to wait at the end, in units of 100 ns.
    pub disconnect_timeout: u64,
}

impl Default for BusOptions {
    /// All versions; 60 s for the connection, 30 s for requests, 30 s for the end.
    fn default() -> Self {
        Self {
            newest: ProtocolVersion::NEWEST,
            oldest: ProtocolVersion::OLDEST,
            features: FeatureFlags::GUEST_SPECIFIED_SIGNAL_PARAMETERS,
            client_id: None,
            connect_timeout: 60 * SECOND,
            request_timeout: 30 * SECOND,
            disconnect_timeout: 30 * SECOND,
        }
    }
}

/// A virtual processor whose SynIC serves the bus.
#[derive(Debug)]
pub struct BusProcessor<C> {
    /// Index of the virtual processor.
    pub vp_index: u32,
    /// The processor, to be used by whoever calls [`Bus::dispatch`](super::Bus::dispatch) on it.
    pub processor: C,
    /// Its SynIC, enabled. To get it back for disabling, keep a clone.
    pub synic: alloc::sync::Arc<Synic>,
}

/// How to open a channel.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Pages of the ring to the host: a control page and at least one for data.
    pub outgoing_pages: u32,
    /// Pages of the ring from the host: a control page and at least one for data.
    pub incoming_pages: u32,
    /// Virtual processor to be interrupted; [`VP_NONE`](crate::protocol::VP_NONE) for none. Before protocol
    /// 2.4 it is virtual processor 0, whatever is asked for.
    pub target_vp: u32,
    /// For the device.
    pub user_data: [u8; USER_DATA_SIZE],
    /// Bytes of the largest packet that the host may send, its header not counted: size of the buffer that
    /// the channel brings along.
    pub max_packet: usize,
    /// Signal the host through the monitor page if it has offered that: fewer hypercalls, more latency.
    pub monitored: bool,
}

impl Default for OpenOptions {
    /// Rings of 16 KiB data, virtual processor 0, packets up to 4096 bytes, direct signals.
    fn default() -> Self {
        Self {
            outgoing_pages: 5,
            incoming_pages: 5,
            target_vp: 0,
            user_data: [0; USER_DATA_SIZE],
            max_packet: 4096,
            monitored: false,
        }
    }
}

/// Why something that a bus was asked for did not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BusError {
    /// The platform has no memory to share.
    OutOfMemory,
    /// A ring would have less than two pages, or the two rings more than a GPADL can have.
    RingSize {
        /// Pages of the ring to the host.
        outgoing_pages: u32,
        /// Pages of the ring from the host.
        incoming_pages: u32,
    },
    /// The memory cannot be described to the host.
    Gpadl(GpadlError),
    /// There is no connection.
    Connect(ConnectError),
    /// The request failed.
    Request(RequestError),
    /// The host did not confirm the end of the connection. What it may still see is leaked.
    NotConfirmed,
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory => f.write_str("no memory to share with the host"),
            Self::RingSize {
                outgoing_pages,
                incoming_pages,
            } => write!(
                f,
                "rings of {outgoing_pages} and {incoming_pages} pages are not possible"
            ),
            Self::Gpadl(error) => error.fmt(f),
            Self::Connect(error) => error.fmt(f),
            Self::Request(error) => error.fmt(f),
            Self::NotConfirmed => {
                f.write_str("the host did not confirm the end of the VMBus connection")
            }
        }
    }
}

impl core::error::Error for BusError {}

impl From<ConnectError> for BusError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(error)
    }
}

impl From<RequestError> for BusError {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl From<GpadlError> for BusError {
    fn from(error: GpadlError) -> Self {
        Self::Gpadl(error)
    }
}
