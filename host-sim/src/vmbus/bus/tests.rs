//! The bus with scripted guests and devices: what the threads and queues around the control plane do.

use std::sync::mpsc;

use ::hypercall::call::CallResult;
use ::hypercall::msr;

use vmbus_core::class;
use vmbus_core::guid::Guid;
use vmbus_core::protocol::{
    ContactTarget, GpadlHeader, GpadlId, GpadlTeardown, GuestMessage, InitiateContact,
    MonitorPages, OpenChannel, OpenFlags, OpenSignal, RequestOffers, USER_DATA_SIZE,
};
use vmbus_core::version::{FeatureFlags, ProtocolVersion};

use super::*;
use crate::hv::{HvConfig, InterruptSink, ManualClock};
use crate::vmbus::vsp::{ChannelFault, ChannelIo, OfferDescription, OpenRefused, VspChannel};

const PATIENCE: Duration = Duration::from_secs(20);
const CHANNEL: ChannelId = ChannelId(1);

struct NoInterrupts;

impl InterruptSink for NoInterrupts {
    fn inject(&self, _vp: u32, _vector: u8) {}
}

/// What a test's channel does when it is polled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    Idle,
    Refuse,
    Fail,
    Panic,
}

struct Device {
    behaviour: Behaviour,
    services: Arc<Mutex<Option<ChannelServices>>>,
    /// Told when a channel is dropped.
    dropped: mpsc::Sender<()>,
}

struct DeviceChannel(Behaviour, mpsc::Sender<()>);

impl Vsp for Device {
    fn offer(&self) -> OfferDescription {
        let mut offer = OfferDescription::new(class::SCSI, Guid::from_fields(1, 0, 0, [0; 8]));
        offer.max_sub_channels = 2;
        offer
    }

    fn open(
        &mut self,
        _request: OpenRequest,
        services: ChannelServices,
    ) -> Result<Box<dyn VspChannel>, OpenRefused> {
        if self.behaviour == Behaviour::Refuse {
            return Err(OpenRefused::new("on purpose"));
        }
        *self.services.lock().unwrap() = Some(services);
        Ok(Box::new(DeviceChannel(
            self.behaviour,
            self.dropped.clone(),
        )))
    }
}

impl VspChannel for DeviceChannel {
    fn poll(&mut self, _io: &mut ChannelIo<'_>) -> Result<NextPoll, ChannelFault> {
        match self.0 {
            Behaviour::Idle | Behaviour::Refuse => Ok(NextPoll::OnSignal),
            Behaviour::Fail => Err(ChannelFault::Protocol {
                device: "test",
                reason: "broken on purpose".to_owned(),
            }),
            Behaviour::Panic => panic!("a device's mistake"),
        }
    }
}

impl Drop for DeviceChannel {
    fn drop(&mut self) {
        let _ = self.1.send(());
    }
}

/// A bus with one device, and a guest that never reads a message.
struct Bench {
    hv: Arc<Hv>,
    bus: VmBus,
    device: DeviceId,
    services: Arc<Mutex<Option<ChannelServices>>>,
    dropped: mpsc::Receiver<()>,
}

impl Bench {
    fn new(execution: Execution, behaviour: Behaviour) -> Self {
        let memory = GuestMemory::new(16 << 20).unwrap();
        let clock = Arc::new(ManualClock::default());
        let mut config = HvConfig::new(memory.clone(), clock, Arc::new(NoInterrupts), 2);
        config.message_queue_limit = 64;
        let hv = Hv::new(config).unwrap();
        let config = ServerConfig::new(2);
        let bus = VmBus::new(Arc::clone(&hv), memory, config, execution, None).unwrap();
        let (services, (sender, dropped)) = (Arc::default(), mpsc::channel());
        let device = bus.add_device(Box::new(Device {
            behaviour,
            services: Arc::clone(&services),
            dropped: sender,
        }));
        Self {
            hv,
            bus,
            device,
            services,
            dropped,
        }
    }

    fn post<'a>(&self, message: impl Into<GuestMessage<'a>>) {
        assert_eq!(self.try_post(message), Status::SUCCESS);
    }

    fn try_post<'a>(&self, message: impl Into<GuestMessage<'a>>) -> Status {
        let mut buffer = MessageBuffer::new();
        message.into().emit(&mut buffer).unwrap();
        self.bus.inner.post(Input::Message {
            connection: connection_id::MESSAGE,
            payload: buffer.as_bytes().into(),
        })
    }

    /// Lets a stepped bus do all it can.
    fn settle(&self) {
        while self.bus.work().into_iter().any(|work| self.bus.step(work)) {}
    }

    fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "{what} does not happen");
            if self.bus.inner.execution == Execution::Stepped {
                self.settle();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn gpadl(&self, id: u32) {
        let mut data = (8 * 4096u64).to_le_bytes().to_vec();
        data.extend((0..8u64).flat_map(u64::to_le_bytes));
        self.post(GpadlHeader {
            channel_id: CHANNEL,
            gpadl_id: GpadlId(id),
            range_bytes: data.len() as u16,
            range_count: 1,
            data: &data,
        });
    }

    /// Posts all that opens the channel.
    fn post_open(&self) {
        self.post(contact());
        self.post(RequestOffers {});
        self.gpadl(1);
        self.post(open());
    }

    fn open(&self) {
        self.post_open();
        self.wait_until("the open", |bench| bench.bus.snapshot().open.len() == 1);
    }

    /// Fills the guest's message queue and leaves one message over.
    fn block(&self) {
        while self.hv.post_message(1, 2, VMBUS_MESSAGE, &[0; 8]).is_ok() {}
        self.gpadl(2);
        self.wait_until("the blockade", |bench| {
            bench.bus.inner.state().unsent.is_some()
        });
    }
}

fn open() -> OpenChannel {
    OpenChannel {
        channel_id: CHANNEL,
        open_id: 1,
        ring_gpadl_id: GpadlId(1),
        target_vp: 0,
        downstream_page_offset: 4,
        user_data: [0; USER_DATA_SIZE],
        signal: None,
    }
}

fn contact() -> InitiateContact {
    InitiateContact {
        version: ProtocolVersion::V5_3.wire(),
        target_message_vp: 1,
        target: ContactTarget::Signal {
            sint: 2,
            vtl: 0,
            features: FeatureFlags::empty(),
        },
        monitor_pages: MonitorPages {
            parent_to_child: 0x6000,
            child_to_parent: 0x7000,
        },
        client_id: None,
    }
}

const BOTH: [Execution; 2] = [Execution::Stepped, Execution::Threaded];

#[test]
fn a_poke_just_before_the_server_falls_asleep_is_not_lost() {
    let bench = Bench::new(Execution::Stepped, Behaviour::Idle);
    bench.bus.poke();
    let (inner, (sender, awake)) = (Arc::clone(&bench.bus.inner), mpsc::channel());
    std::thread::spawn(move || {
        inner.rest(false);
        sender.send(()).unwrap();
    });
    awake
        .recv_timeout(PATIENCE)
        .expect("the server sleeps on its work");
}

// 37
#[test]
fn a_reset_does_not_wait_for_a_guest_that_reads_no_messages() {
    for execution in BOTH {
        let bench = Bench::new(execution, Behaviour::Idle);
        bench.open();
        bench.block();
        assert!(bench.bus.reset(), "{execution:?}");
        assert!(bench.bus.snapshot().open.is_empty());
        assert!(bench.bus.inner.state().unsent.is_none());
        bench.bus.shut_down();
    }
}

// 37
#[test]
fn a_reset_drops_what_the_guest_had_posted() {
    let bench = Bench::new(Execution::Stepped, Behaviour::Idle);
    bench.post(contact());
    assert!(bench.bus.reset());
    bench.settle();
    assert_eq!(bench.bus.snapshot().server.version, None);
    for _ in 0..INBOX_LIMIT {
        bench.post(RequestOffers {});
    }
}

#[test]
fn a_reset_waits_for_a_channel_that_is_about_to_be_opened() {
    let bench = Bench::new(Execution::Stepped, Behaviour::Idle);
    bench.post_open();
    while !bench.bus.inner.inbox().is_empty() {
        bench.bus.step(Work::Inbox);
    }
    let mut state = bench.bus.inner.state();
    state.server.reset();
    assert!(!Inner::is_quiet(&state), "the channel will be opened yet");
    while bench.bus.inner.handle_effect(&mut state) {}
    assert!(Inner::is_quiet(&state));
}

#[test]
fn messages_that_wait_are_bounded() {
    let bench = Bench::new(Execution::Stepped, Behaviour::Idle);
    for _ in 0..INBOX_LIMIT {
        bench.post(RequestOffers {});
    }
    assert_eq!(
        bench.try_post(RequestOffers {}),
        Status::INSUFFICIENT_BUFFERS
    );
    assert!(bench.bus.step(Work::Inbox));
    bench.post(RequestOffers {});
    assert_eq!(
        bench.try_post(RequestOffers {}),
        Status::INSUFFICIENT_BUFFERS
    );
}

/// What the guest gets when it signals a connection.
fn signal(hv: &Hv, connection: u32) -> Status {
    let registers = crate::hv::HypercallRegisters {
        control: 0x1_005D,
        input: connection.into(),
        output: 0,
    };
    CallResult::from_bits(hv.hypercall(0, registers)).status()
}

// 17, 37
#[test]
fn the_event_port_is_there_before_the_answer_and_gone_with_the_channel() {
    let bench = Bench::new(Execution::Stepped, Behaviour::Idle);
    bench.hv.write_msr(0, msr::GUEST_OS_ID, 1).unwrap();
    bench.hv.write_msr(0, msr::HYPERCALL, 0x9001).unwrap();
    let connection = 0x2000 | CHANNEL.0;
    assert_eq!(signal(&bench.hv, connection), Status::INVALID_CONNECTION_ID);
    bench.post_open();
    while !bench.bus.inner.inbox().is_empty() {
        bench.bus.step(Work::Inbox);
    }
    while bench.bus.snapshot().open.is_empty() {
        assert!(bench.bus.step(Work::Effect));
    }
    let told = bench.hv.message_queue_len(1, 2);
    assert_eq!(signal(&bench.hv, connection), Status::SUCCESS);
    assert_eq!(bench.bus.snapshot().open[0].signals, 1);
    assert!(bench.bus.step(Work::Effect));
    assert_eq!(bench.hv.message_queue_len(1, 2), told + 1, "the answer");
    assert!(bench.bus.reset());
    assert_eq!(signal(&bench.hv, connection), Status::INVALID_CONNECTION_ID);
}

// 42
#[test]
fn an_open_that_is_refused_leaves_no_event_port() {
    let refused = Bench::new(Execution::Stepped, Behaviour::Refuse);
    let ports = refused.hv.snapshot().event_ports;
    refused.post_open();
    // The shared event connection, which is nobody's to choose.
    let taken = Bench::new(Execution::Stepped, Behaviour::Idle);
    taken.post(InitiateContact {
        version: ProtocolVersion::V6_0.wire(),
        target: ContactTarget::Signal {
            sint: 2,
            vtl: 0,
            features: FeatureFlags::GUEST_SPECIFIED_SIGNAL_PARAMETERS,
        },
        ..contact()
    });
    taken.post(RequestOffers {});
    taken.gpadl(1);
    taken.post(OpenChannel {
        signal: Some(OpenSignal {
            connection_id: connection_id::EVENT,
            event_flag: 1,
            flags: OpenFlags::empty(),
        }),
        ..open()
    });
    for bench in [refused, taken] {
        bench.settle();
        let snapshot = bench.bus.snapshot();
        assert_eq!(snapshot.server.counters.opens_refused, 1);
        assert_eq!(snapshot.server.channels[0].phase, "closed");
        assert_eq!(bench.hv.snapshot().event_ports, ports);
        assert!(bench.bus.reset());
    }
}

#[test]
fn fault_27_a_device_goes_while_the_guest_reads_no_messages() {
    for execution in BOTH {
        let bench = Bench::new(execution, Behaviour::Idle);
        bench.open();
        bench.block();
        bench.bus.remove_device(bench.device);
        bench.wait_until("the close", |bench| bench.bus.snapshot().open.is_empty());
        bench.dropped.recv_timeout(PATIENCE).unwrap();
        bench.bus.shut_down();
    }
}

#[test]
fn fault_34_requests_for_sub_channels_do_not_pile_up() {
    let bench = Bench::new(Execution::Stepped, Behaviour::Idle);
    bench.open();
    bench.block();
    let services = bench.services.lock().unwrap().clone().unwrap();
    for _ in 0..10_000 {
        services.sub_channels.request(1);
    }
    services.sub_channels.request(2);
    services.sub_channels.request(1);
    let wanted: Vec<_> = bench
        .bus
        .inner
        .inbox()
        .iter()
        .filter_map(|input| match input {
            Input::SubChannels { count, .. } => Some(*count),
            _ => None,
        })
        .collect();
    assert_eq!(wanted, [2]);
}

#[test]
fn a_worker_that_panics_does_not_keep_its_channel_from_being_closed() {
    let bench = Bench::new(Execution::Threaded, Behaviour::Panic);
    bench.post_open();
    bench.dropped.recv_timeout(PATIENCE).unwrap();
    bench.wait_until("the worker's end", |bench| {
        bench.bus.snapshot().open.is_empty()
    });
    assert!(bench.bus.reset());
    bench.bus.shut_down();
}

#[test]
fn a_broken_channel_lets_go_of_its_device_at_once() {
    for execution in BOTH {
        let bench = Bench::new(execution, Behaviour::Fail);
        bench.open();
        bench.wait_until("the fault", |bench| bench.bus.snapshot().faults == 1);
        bench.dropped.recv_timeout(PATIENCE).unwrap();
        assert_eq!(
            bench.bus.snapshot().open.len(),
            1,
            "until the guest closes it"
        );
        bench.bus.shut_down();
    }
}

/// A device may keep what its guest lends for as long as its channel is open; the guest gets it back afterwards.
#[test]
fn fault_41_lent_memory_is_given_back_when_the_device_returns_it() {
    for execution in [Execution::Threaded, Execution::Stepped] {
        let bench = Bench::new(execution, Behaviour::Idle);
        bench.open();
        bench.gpadl(60);
        let gpadls = |bench: &Bench| bench.bus.snapshot().server.gpadls;
        bench.wait_until("the GPADL", |bench| gpadls(bench) == 2);
        let lookup = bench.services.lock().unwrap().clone().unwrap().gpadls;
        assert!(lookup.lend(GpadlId(61)).is_none());
        let lent = lookup.lend(GpadlId(60)).expect("lent to this channel");
        assert_eq!((lent.size(), lent.is_whole_pages()), (8 * 4096, true));
        bench.post(GpadlTeardown {
            channel_id: CHANNEL,
            gpadl_id: GpadlId(60),
        });
        bench.wait_until("the end of lending", |_| lookup.lend(GpadlId(60)).is_none());
        assert_eq!(gpadls(&bench), 2, "still lent");
        lent.read(0, &mut [0; 100]).unwrap();
        drop(lent);
        bench.wait_until("the teardown", |bench| gpadls(bench) == 1);
        bench.bus.shut_down();
        assert!(lookup.lend(GpadlId(60)).is_none());
    }
}
