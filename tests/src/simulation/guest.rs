//! The guest: its main task, and one task for each device.

use std::rc::Rc;

use ic_services::heartbeat::Heartbeat;
use vmbus_core::bus::{BusError, BusEvent, Offer};
use vmbus_core::class;
use vmbus_core::connection::RequestError;
use vmbus_core::version::ProtocolVersion;
use vsc_storage::disk::DiskError;
use vsc_storage::front::{
    BringUpError, ControllerOptions, DiskEvent, OpenError, StorageController,
};

use super::log::Entry;
use super::operations::{verify_all, worker};
use super::world::World;
use crate::future::{Either, either};
use crate::machine::InprocBus;
use crate::services::{open_options, serve};

/// The guest's first tasks.
pub fn boot(world: &Rc<World>, bus: &InprocBus) {
    world.spawn("main".to_owned(), main(world.clone(), bus.clone()));
    for number in 0..world.plan.workers {
        world.spawn(format!("worker {number}"), worker(world.clone()));
    }
    world.spawn("verifier".to_owned(), verifier(world.clone()));
}

async fn main(world: Rc<World>, bus: InprocBus) {
    let agreement = bus.reconnect().await.expect("a connection");
    assert_eq!(agreement.version, world.plan.vmbus);
    bus.enumerate().await.expect("offers");
    loop {
        let stop = world.until(|world| world.stop.get().then_some(()));
        match either(bus.next_event(), stop).await {
            Either::First(BusEvent::Offered(offer)) => offered(&world, &bus, offer),
            Either::First(BusEvent::Rescinded(_) | BusEvent::AllOffersDelivered) => {}
            Either::First(BusEvent::Overflowed) => panic!("few events overflowed"),
            Either::Second(()) => break,
        }
    }
    world
        .until(|world| (world.devices.get() == 0).then_some(()))
        .await;
    match bus.disconnect().await {
        Ok(()) => {}
        // Hosts of this version do not answer.
        Err(BusError::NotConfirmed) if world.plan.vmbus == ProtocolVersion::V0_13 => {}
        Err(error) => panic!("disconnect: {error}"),
    }
    world.note(Entry::Disconnected);
}

async fn verifier(world: Rc<World>) {
    world
        .until(|world| (world.workers.get() == 0).then_some(()))
        .await;
    world.note(Entry::Calm);
    world.calm.set(true);
    verify_all(&world).await;
    world.note(Entry::Verified);
    world.stop.set(true);
    world.notify();
}

fn offered(world: &Rc<World>, bus: &InprocBus, offer: Offer) {
    if !offer.is_primary() {
        // Whoever opens the device looks for it.
        return;
    }
    let (task_world, task_bus) = (world.clone(), bus.clone());
    if offer.interface() == class::SCSI {
        world.devices.set(world.devices.get() + 1);
        world.spawn(format!("controller {}", offer.channel_id()), async move {
            controller(&task_world, &task_bus, &offer).await;
            task_world.devices.set(task_world.devices.get() - 1);
            task_world.notify();
        });
    } else if offer.interface() == class::HEARTBEAT && world.plan.heartbeat {
        world.devices.set(world.devices.get() + 1);
        world.spawn("heartbeat".to_owned(), async move {
            heartbeat(&task_world, &task_bus, &offer).await;
            task_world.devices.set(task_world.devices.get() - 1);
            task_world.notify();
        });
    }
}

async fn heartbeat(world: &World, bus: &InprocBus, offer: &Offer) {
    let mut channel = bus
        .open(offer, open_options(0))
        .await
        .expect("an open heartbeat channel");
    let mut service = Heartbeat::new();
    let stop = world.until(|world| world.stop.get().then_some(()));
    match either(serve(&mut service, &mut channel), stop).await {
        Either::First(Ok(())) => panic!("a heartbeat orders nothing"),
        Either::First(Err(error)) => panic!("heartbeat: {error}"),
        Either::Second(()) => {}
    }
    world.totals.borrow_mut().beats += service.beats();
    channel.close().await.expect("the heartbeat's memory back");
}

/// Whether an opening failed because the device is gone.
fn is_gone(error: &BusError) -> bool {
    matches!(
        error,
        BusError::Request(
            RequestError::Rescinded | RequestError::UnknownChannel | RequestError::Refused { .. }
        )
    )
}

async fn controller(world: &World, bus: &InprocBus, offer: &Offer) {
    let options = ControllerOptions {
        ring_pages: world.plan.ring_pages,
        queue_depth: world.plan.queue_depth,
        sub_channels: world.plan.sub_channels,
        ..ControllerOptions::default()
    };
    let id = u64::from(offer.channel_id().0) << 32 | world.moment();
    let opened = StorageController::open(bus, world.runtime().clone(), offer, options).await;
    let controller = match opened {
        Ok(controller) => controller,
        Err(OpenError::Channel(error)) if is_gone(&error) && world.plan.rescinds > 0 => return,
        Err(OpenError::BringUp(BringUpError::Rescinded)) if world.plan.rescinds > 0 => return,
        Err(error) => panic!("open: {error}"),
    };
    assert_eq!(controller.info().version, world.plan.storage);
    world.note(Entry::ControllerUp);
    world.totals.borrow_mut().controllers += 1;
    let channels = u64::try_from(controller.info().channels).expect("few channels");
    world.totals.borrow_mut().sub_channels += channels - 1;
    serve_disks(world, id, &controller).await;
    world.withdraw(id, None);
    let acknowledged = controller.clone().close().await;
    assert!(acknowledged, "the host did not acknowledge the close");
    for lane in controller.statistics() {
        world.totals.borrow_mut().add_lane(&lane);
    }
    world.note(Entry::ControllerDown);
}

/// Publishes the controller's disks as they come and go, until it is gone or everything is done.
async fn serve_disks(world: &World, id: u64, controller: &StorageController) {
    match controller.scan().await {
        Ok(disks) => disks.into_iter().for_each(|disk| world.publish(id, disk)),
        Err(DiskError::Closed) if world.plan.rescinds > 0 => return,
        Err(error) => panic!("scan: {error}"),
    }
    loop {
        let stop = world.until(|world| world.stop.get().then_some(()));
        match either(controller.next_event(), stop).await {
            Either::First(DiskEvent::Added(disk)) => world.publish(id, disk),
            Either::First(DiskEvent::Removed(disk)) => {
                world.withdraw(id, Some(disk.info().address.lun));
            }
            Either::First(DiskEvent::Changed(_)) => world.notify(),
            Either::First(DiskEvent::ControllerGone) => {
                assert!(world.plan.rescinds > 0, "nobody took the controller away");
                return;
            }
            Either::Second(()) => return,
        }
    }
}
