//! Heartbeat and shutdown, as long as the guest lives.

use alloc::vec;
use core::cell::Cell;

use ic_services::heartbeat::Heartbeat;
use ic_services::service::{Service, Step, step};
use ic_services::shutdown::{Action, OperatingSystem, Order, Shutdown};
use vmbus_core::bus::{Offer, OpenOptions};
use vmbus_core::class;
use vmbus_core::guid::Guid;

use super::{EnvironmentBus, Failure};
use crate::environment::Environment;

/// Bytes for two private copies of the largest message of these services.
const BUFFER: usize = 2 * 4096;

/// This guest, as the shutdown service sees it.
struct Guest;

impl OperatingSystem for Guest {
    fn can(&self, action: Action) -> bool {
        action == Action::PowerOff
    }
}

/// Answers heartbeats and shutdown requests until the host has given an order or withdrawn the shutdown service.
pub(super) async fn serve<E: Environment>(
    environment: &E,
    bus: &EnvironmentBus<E>,
    offers: &[Offer],
    heartbeat_vp: u32,
    order: &Cell<Option<Order>>,
) -> Result<(), Failure> {
    let find = |interface: Guid| {
        let found = offers.iter().find(|offer| offer.interface() == interface);
        found.ok_or_else(|| {
            Failure::new("services", "the host does not offer heartbeat and shutdown")
        })
    };
    // Another processor than the first gets the heartbeat's interrupts, where there is one.
    let heartbeat = run::<E, _>(
        bus,
        find(class::HEARTBEAT)?,
        heartbeat_vp,
        Heartbeat::new(),
        |()| false,
    );
    let shutdown = run::<E, _>(
        bus,
        find(class::SHUTDOWN)?,
        0,
        Shutdown::new(Guest),
        |given| {
            environment.print(format_args!("the host orders {given:?}\n"));
            order.set(Some(given));
            true
        },
    );
    // The heart stops when the order has come.
    let heartbeat = core::pin::pin!(heartbeat);
    let shutdown = core::pin::pin!(shutdown);
    match futures_util::future::select(heartbeat, shutdown).await {
        futures_util::future::Either::Left((beating, shutdown)) => {
            beating?;
            shutdown.await
        }
        futures_util::future::Either::Right((ended, _)) => ended,
    }
}

/// Runs one service on its channel until `act` says that an order ends it, or the channel is gone.
async fn run<E, S: Service>(
    bus: &EnvironmentBus<E>,
    offer: &Offer,
    target_vp: u32,
    mut service: S,
    mut act: impl FnMut(S::Order) -> bool,
) -> Result<(), Failure>
where
    E: Environment,
{
    let options = OpenOptions {
        target_vp,
        ..OpenOptions::default()
    };
    let failed = |error| Failure::new("integration service", error);
    let mut channel = bus.open(offer, options).await.map_err(failed)?;
    let event = channel.event();
    let mut buffer = vec![0; BUFFER];
    'life: loop {
        loop {
            let (outgoing, incoming) = channel.rings();
            let (done, signal) = step(&mut service, incoming, outgoing, &mut buffer)
                .map_err(|error| Failure::new("integration service", error))?;
            channel.signal_host(signal);
            match done {
                Step::Idle | Step::Blocked => break,
                Step::Dropped | Step::Answered(None) => {}
                Step::Answered(Some(order)) => {
                    if act(order) {
                        break 'life;
                    }
                }
            }
        }
        if event.wait().await.is_err() {
            return Ok(());
        }
    }
    channel
        .close()
        .await
        .map_err(|error| Failure::new("integration service", error))
}
