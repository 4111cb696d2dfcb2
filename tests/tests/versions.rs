//! Every protocol version moves data: guest and host in one process, on threads, the host capped to the version.

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use e2e_tests::future::{Either, both, either};
use e2e_tests::machine::{InprocBus, Machine};
use e2e_tests::random::Random;
use e2e_tests::services::{PlainSystem, open_options, serve};
use host_sim::disk::{MemoryStorage, RawDisk, RawOptions};
use host_sim::host::{Host, HostOptions, Place, SCSI_INSTANCE, StorageDevice};
use host_sim::ic::shutdown::{Order, Progress};
use host_sim::partition::inproc::{InprocConfig, InprocPartition, InprocRuntime};
use ic_services::heartbeat::Heartbeat;
use ic_services::shutdown::{Action, Shutdown};
use vmbus_core::bus::{BusError, BusOptions, Offer, SECOND};
use vmbus_core::class;
use vmbus_core::executor::block_on;
use vmbus_core::guid::Guid;
use vmbus_core::platform::Runtime;
use vmbus_core::version::ProtocolVersion;
use vsc_storage::disk::plan::Fua;
use vsc_storage::front::{ControllerOptions, Disk, StorageController};
use vsc_storage::wire::Version as StorageVersion;

const MEMORY: u64 = 16 << 20;
const BLOCK: usize = 512;
/// Blocks of the disk.
const BLOCKS: usize = 512;
/// Blocks that one request moves.
const AT_ONCE: usize = 64;

/// A partition with two virtual processors, its host, and a guest that is connected.
struct Stage {
    partition: InprocPartition,
    free_pages: u64,
    host: Host,
    disk: Arc<RawDisk<MemoryStorage>>,
    machine: Machine,
    bus: InprocBus,
    runtime: Arc<InprocRuntime>,
}

impl Stage {
    fn new(vmbus: ProtocolVersion, storage: StorageVersion) -> Self {
        let partition = InprocPartition::new(InprocConfig::threaded(MEMORY, 2)).unwrap();
        let free_pages = partition.free_pages();
        let options = RawOptions {
            logical_sector_size: BLOCK as u32,
            physical_sector_size: BLOCK as u32,
            read_only: false,
            identity: *b"every version...",
            discard: true,
        };
        let content = MemoryStorage::from_bytes(&vec![0; BLOCKS * BLOCK]);
        let disk = Arc::new(RawDisk::new(content, options).unwrap());
        let options = HostOptions {
            storage: vec![(Place::lun(0), StorageDevice::disk(disk.clone()))],
            newest_vmbus: vmbus,
            newest_storage: storage,
            max_sub_channels: 1,
            // 2 ms, so that a few are enough to come at once.
            heartbeat_interval: 20_000,
            ..HostOptions::default()
        };
        let host = Host::new(partition.hv(), partition.memory(), options).unwrap();
        let machine = Machine::start(&partition);
        let runtime = partition.runtime(0);
        let options = BusOptions {
            // Hosts of the oldest version never answer, which is waited for.
            disconnect_timeout: if vmbus == ProtocolVersion::V0_13 {
                SECOND / 10
            } else {
                30 * SECOND
            },
            ..BusOptions::default()
        };
        let bus = InprocBus::new(runtime.clone(), machine.bus_processor(0), options).unwrap();
        machine.add_others(&bus);
        Self {
            partition,
            free_pages,
            host,
            disk,
            machine,
            bus,
            runtime,
        }
    }

    /// Runs the guest: the future on virtual processor 0, nothing but dispatching on virtual processor 1.
    fn run<T>(&self, guest: impl Future<Output = T>) -> T {
        let ended = AtomicBool::new(false);
        let second = self.partition.runtime(1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Acquire) {
                    self.bus.dispatch(1);
                    second.idle();
                }
            });
            // Ends the other thread if the guest panics, too.
            let _end = OnDrop(|| {
                ended.store(true, Ordering::Release);
                second.wake();
            });
            block_on(&*self.runtime, guest, || self.bus.dispatch(0))
        })
    }

    /// Ends the guest and looks for what it left behind.
    fn end(self, vmbus: ProtocolVersion) {
        let disconnected = self.run(self.bus.disconnect());
        let snapshot = self.host.bus.snapshot();
        assert_eq!(snapshot.faults, 0, "{snapshot:#?}");
        assert_eq!(snapshot.server.counters.malformed, 0, "{snapshot:#?}");
        assert_eq!(snapshot.server.counters.unexpected, 0, "{snapshot:#?}");
        let received = self.bus.counters();
        assert_eq!(received.dropped(), 0, "{received:?}");
        let leaked = match disconnected {
            Ok(()) => 0,
            // Hosts of this version don't answer: the bus's three pages are leaked on purpose.
            Err(BusError::NotConfirmed) if vmbus == ProtocolVersion::V0_13 => 3,
            Err(error) => panic!("disconnect at {vmbus}: {error}"),
        };
        drop(self.bus);
        self.machine.stop();
        self.host.bus.shut_down();
        assert_eq!(
            self.partition.free_pages() + leaked,
            self.free_pages,
            "{vmbus}"
        );
    }
}

/// Does something when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn find(offers: &[Offer], interface: Guid) -> Offer {
    let mut found = offers.iter().filter(|offer| offer.interface() == interface);
    *found.next().unwrap()
}

/// Writes every block, some of them durably, flushes, and reads all of it back. Returns the number of blocks moved.
async fn move_blocks(disk: &Disk, content: &[u8]) -> usize {
    let mut buffer = disk.buffer(AT_ONCE * BLOCK).unwrap();
    let mut moved = 0;
    let pieces = || (0..).step_by(AT_ONCE).zip(content.chunks(AT_ONCE * BLOCK));
    for (lba, piece) in pieces() {
        buffer.copy_from(0, piece).unwrap();
        let fua = if lba % 128 == 0 { Fua::Yes } else { Fua::No };
        let (result, back) = disk.write(lba, buffer, fua).await;
        moved += result.unwrap() / BLOCK;
        buffer = back;
    }
    disk.flush().await.unwrap();
    for (lba, piece) in pieces() {
        buffer.fill(0);
        let (result, back) = disk.read(lba, buffer).await;
        moved += result.unwrap() / BLOCK;
        assert!(back.to_vec() == piece, "blocks from {lba} on");
        buffer = back;
    }
    moved
}

/// Interrupts that a virtual processor has had.
fn interrupts(stage: &Stage, vp: usize) -> u64 {
    stage.partition.hv().counters().virtual_processors[vp].interrupts
}

/// Brings the controller up on virtual processor 1 where the bus can interrupt it, and moves blocks.
fn storage(vmbus: ProtocolVersion, version: StorageVersion) -> usize {
    let stage = Stage::new(vmbus, version);
    let mut random = Random::new(u64::from(vmbus.wire()) << 32 | u64::from(version.wire()));
    let words = (0..BLOCKS * BLOCK / 8).flat_map(|_| random.next_u64().to_le_bytes());
    let content: Vec<u8> = words.collect();
    let moved = stage.run(async {
        let agreement = stage.bus.reconnect().await.unwrap();
        assert_eq!(agreement.version, vmbus);
        let offers = stage.bus.enumerate().await.unwrap();
        let offer = find(&offers, class::SCSI);
        assert_eq!(offer.instance(), SCSI_INSTANCE);
        let options = ControllerOptions {
            target_vp: 1,
            ..ControllerOptions::default()
        };
        let opened = StorageController::open(&stage.bus, stage.runtime.clone(), &offer, options);
        let controller = opened.await.unwrap();
        let info = controller.info();
        assert_eq!(info.version, version);
        let sub_channels = vmbus.has_channel_event_flags() && version.has_extension();
        assert_eq!(info.offered_sub_channels, u16::from(sub_channels));
        let disks = controller.scan().await.unwrap();
        assert_eq!(disks.len(), 1);
        let moved = move_blocks(&disks[0], &content).await;
        drop(disks);
        assert!(controller.close().await);
        moved
    });
    assert!(
        stage.disk.storage().to_bytes() == content,
        "the image of {vmbus}"
    );
    if vmbus.has_channel_event_flags() {
        assert!(
            interrupts(&stage, 1) > 0,
            "{vmbus} interrupts whom it is told to"
        );
    } else {
        assert_eq!(
            interrupts(&stage, 1),
            0,
            "{vmbus} interrupts processor 0 only"
        );
    }
    stage.end(vmbus);
    moved
}

#[test]
fn every_version_moves_data() {
    println!("VMBus | VSTOR | blocks moved | ok");
    println!("------|-------|--------------|---");
    for vmbus in ProtocolVersion::ALL_NEWEST_FIRST {
        for version in StorageVersion::ALL_NEWEST_FIRST {
            let moved = storage(vmbus, version);
            assert_eq!(moved, 2 * BLOCKS);
            let (vmbus, version) = (vmbus.to_string(), version.to_string());
            println!("{vmbus:<5} | {version:<5} | {moved:>12} | ok");
        }
    }
}

/// Answers heartbeats until the guest is to end.
async fn beat(stage: &Stage, offer: &Offer, end: &Cell<bool>) -> u64 {
    let mut channel = stage.bus.open(offer, open_options(1)).await.unwrap();
    let mut service = Heartbeat::new();
    match either(serve(&mut service, &mut channel), until(|| end.get())).await {
        Either::First(stopped) => panic!("the heart stopped: {stopped:?}"),
        Either::Second(()) => {}
    }
    channel.close().await.unwrap();
    service.beats()
}

/// Answers shutdown requests until there is an order that the host knows to be accepted.
async fn await_order(stage: &Stage, offer: &Offer) -> ic_services::shutdown::Order {
    let mut channel = stage.bus.open(offer, open_options(0)).await.unwrap();
    let mut service = Shutdown::new(PlainSystem);
    let order = serve(&mut service, &mut channel).await.unwrap();
    // Whoever closes the channel at once may keep the host from reading the answer.
    until(|| stage.host.services.shutdown.progress() != Progress::Pending).await;
    channel.close().await.unwrap();
    order
}

/// Waits for something that wakes nobody: the executor looks at it every few milliseconds.
async fn until(mut condition: impl FnMut() -> bool) {
    poll_fn(|_| {
        if condition() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Orders the guest to power off once it is ready and its heart beats.
async fn operate(host: &Host) {
    until(|| host.services.heartbeat.status().answered >= 3 && host.services.shutdown.is_ready())
        .await;
    host.services
        .shutdown
        .order(&Order::new(Action::PowerOff))
        .unwrap();
}

#[test]
fn the_heart_beats_and_the_host_shuts_down_at_every_version() {
    for vmbus in ProtocolVersion::ALL_NEWEST_FIRST {
        let stage = Stage::new(vmbus, StorageVersion::Win10);
        let (order, beats) = stage.run(async {
            stage.bus.reconnect().await.unwrap();
            let offers = stage.bus.enumerate().await.unwrap();
            let heartbeat = find(&offers, class::HEARTBEAT);
            let shutdown = find(&offers, class::SHUTDOWN);
            let end = Cell::new(false);
            let orders = async {
                let ordering = both(await_order(&stage, &shutdown), operate(&stage.host));
                let (order, ()) = ordering.await;
                end.set(true);
                order
            };
            both(orders, beat(&stage, &heartbeat, &end)).await
        });
        assert!(beats >= 3);
        assert_eq!(order.action, Action::PowerOff);
        assert_eq!(stage.host.services.shutdown.progress(), Progress::Accepted);
        assert_eq!(stage.host.services.heartbeat.status().wrong_sequence, 0);
        assert_eq!(interrupts(&stage, 1) > 0, vmbus.has_channel_event_flags());
        stage.end(vmbus);
    }
}

/// From 2.4 on, a controller spreads over two channels, the second of which interrupts the second processor.
#[test]
fn sub_channels_carry_data_on_the_second_processor() {
    for vmbus in ProtocolVersion::between(ProtocolVersion::NEWEST, ProtocolVersion::V2_4) {
        let stage = Stage::new(vmbus, StorageVersion::Win10);
        let content: Vec<u8> = (0..BLOCKS * BLOCK).map(|at| (at / 3) as u8).collect();
        stage.run(async {
            stage.bus.reconnect().await.unwrap();
            let offers = stage.bus.enumerate().await.unwrap();
            let options = ControllerOptions {
                sub_channels: 1,
                ..ControllerOptions::default()
            };
            let (runtime, offer) = (stage.runtime.clone(), find(&offers, class::SCSI));
            let opened = StorageController::open(&stage.bus, runtime, &offer, options);
            let controller = opened.await.unwrap();
            assert_eq!(controller.info().channels, 2);
            let disks = controller.scan().await.unwrap();
            assert_eq!(move_blocks(&disks[0], &content).await, 2 * BLOCKS);
            let lanes = controller.statistics();
            assert!(
                lanes.iter().all(|lane| lane.queue.completed >= 8),
                "{lanes:?}"
            );
            assert!(controller.close().await);
        });
        assert!(stage.disk.storage().to_bytes() == content);
        assert!(interrupts(&stage, 1) > 0);
        stage.end(vmbus);
    }
}
