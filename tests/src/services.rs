//! Integration services as guest tasks.

use host_sim::partition::inproc::{InprocProcessor, InprocRuntime};
use ic_services::service::{Service, Step, step};
use ic_services::shutdown::{Action, OperatingSystem};
use vmbus_core::bus::OpenOptions;
use vmbus_core::channel::{Channel, ChannelGone};

/// An operating system that can power off and restart but not hibernate.
#[derive(Clone, Copy, Debug)]
pub struct PlainSystem;

impl OperatingSystem for PlainSystem {
    fn can(&self, action: Action) -> bool {
        action != Action::Hibernate
    }
}

/// How to open a service's channel: [`serve`] needs room for two copies of the largest message.
#[must_use]
pub fn open_options(target_vp: u32) -> OpenOptions {
    OpenOptions {
        target_vp,
        max_packet: 8192,
        ..OpenOptions::default()
    }
}

/// Serves packets until the service has an order to carry out.
///
/// # Errors
/// [`ChannelGone`] when the host takes the channel back.
///
/// # Panics
/// The host breaks the channel, or sends what is dropped.
pub async fn serve<S: Service>(
    service: &mut S,
    channel: &mut Channel<InprocRuntime, InprocProcessor>,
) -> Result<S::Order, ChannelGone> {
    loop {
        let parts = channel.parts();
        let (done, signal) = step(service, parts.incoming, parts.outgoing, parts.buffer)
            .expect("a host that keeps to the protocol");
        channel.signal_host(signal);
        match done {
            Step::Answered(Some(order)) => return Ok(order),
            Step::Answered(None) => {}
            Step::Dropped => panic!("a packet of our own host was dropped"),
            // A signal that came before this is remembered, so nothing is missed.
            Step::Idle | Step::Blocked => channel.event().wait().await?,
        }
    }
}
