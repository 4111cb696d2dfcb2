//! Initialisation over a transport.

use core::task::Poll;

use vmbus_core::ring::{RingError, WriteError};

use super::time::{Pause, SharedRuntime};
use super::transport::Transport;
use crate::init::{InitError, InitOptions, Initialisation, Negotiated, Progress};

/// Bytes of the largest packet that a host may send.
const LARGEST_PACKET: usize = 512;
/// Packets that answer nothing and are tolerated during initialisation.
const IGNORED_LIMIT: u64 = 4096;

/// Why a controller could not be brought up on its open channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BringUpError {
    /// The host refused or answered nonsense.
    Init(InitError),
    /// The host broke the ring.
    Ring(RingError),
    /// A message could not be sent into an empty ring.
    Send(WriteError),
    /// The host withdrew the controller.
    Rescinded,
    /// The host sends packets without end that answer nothing.
    Flooded,
    /// Memory for the controller cannot be had.
    OutOfMemory,
}

impl core::fmt::Display for BringUpError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Init(error) => error.fmt(f),
            Self::Ring(error) => error.fmt(f),
            Self::Send(error) => write!(f, "initialisation could not be sent: {error}"),
            Self::Rescinded => f.write_str("host withdrew the controller"),
            Self::Flooded => f.write_str("host floods the initialisation with other packets"),
            Self::OutOfMemory => f.write_str("no memory for the controller"),
        }
    }
}

impl core::error::Error for BringUpError {}

/// Runs the initialisation; each message must be answered within `timeout` units of 100 ns.
pub(super) async fn bring_up<T: Transport>(
    transport: &mut T,
    runtime: &SharedRuntime,
    options: InitOptions,
    timeout: u64,
) -> Result<Negotiated, BringUpError> {
    let mut init = Initialisation::new(options);
    loop {
        let (outgoing, _) = transport.rings();
        let signal = init.send(outgoing).map_err(BringUpError::Send)?;
        transport.signal_host(signal);
        let deadline = Pause::new(runtime, timeout);
        let progress = core::future::poll_fn(|context| {
            transport.register(context.waker());
            match take_answer(transport, &mut init) {
                Ok(Progress::Ignored) => {}
                other => return Poll::Ready(other),
            }
            if transport.is_rescinded() {
                Poll::Ready(Err(BringUpError::Rescinded))
            } else if deadline.is_over() {
                Poll::Ready(init.time_out().map_err(BringUpError::Init))
            } else {
                Poll::Pending
            }
        })
        .await?;
        if let Progress::Ready(negotiated) = progress {
            return Ok(negotiated);
        }
    }
}

/// Takes packets until one moves the initialisation on or there are none left.
fn take_answer<T: Transport>(
    transport: &mut T,
    init: &mut Initialisation,
) -> Result<Progress, BringUpError> {
    let mut buffer = [0; LARGEST_PACKET];
    loop {
        let mut progress = Progress::Ignored;
        let (_, incoming) = transport.rings();
        let mut batch = incoming.batch().map_err(BringUpError::Ring)?;
        while progress == Progress::Ignored
            && let Some(packet) = batch.next(&mut buffer).map_err(BringUpError::Ring)?
        {
            progress = init.receive(&packet).map_err(BringUpError::Init)?;
        }
        let signal = batch.commit();
        let more = incoming.has_data().map_err(BringUpError::Ring)?;
        transport.signal_host(signal);
        if init.ignored() > IGNORED_LIMIT {
            return Err(BringUpError::Flooded);
        }
        if progress != Progress::Ignored || !more {
            return Ok(progress);
        }
    }
}
