//! The service over rings, with a guest that keeps its items in memory.

mod guest;

use ic_services::kvp::wire::ValueType;
use ic_services::wire::BODY_OFFSET;

use self::guest::Pools;
use super::walk::WALK_TIMEOUT;
use super::*;
use crate::ic::RequestError;
use crate::ic::request::SECOND;
use crate::ic::testing::{Bench, Guest};
use crate::vmbus::vsp::NextPoll;

const V1: &[Version] = &[Version::new(1, 0)];
const V3: &[Version] = &[Version::new(3, 0)];
const V4: &[Version] = &[Version::new(4, 0), Version::new(3, 0)];
const V5: &[Version] = &[Version::new(5, 0), Version::new(4, 0)];

struct Stage {
    device: Kvp,
    handle: KvpHandle,
    bench: Bench,
    guest: Guest,
    pools: Pools,
}

fn stage_with(options: KvpOptions, versions: &'static [Version]) -> Stage {
    let (mut device, handle) = Kvp::new(options);
    assert_eq!(device.offer().interface, class::KVP);
    let bench = Bench::open(&mut device);
    let mut stage = Stage {
        device,
        handle,
        bench,
        guest: Guest::new(MessageType::KVP, versions),
        pools: Pools::default(),
    };
    stage.run();
    stage
}

fn stage(versions: &'static [Version]) -> Stage {
    let any = ServiceVersions::new(
        vec![Version::new(1, 0), Version::new(3, 0)],
        [1, 3, 4, 5].map(|major| Version::new(major, 0)).to_vec(),
    );
    let options = KvpOptions {
        versions: any.unwrap(),
        ..KvpOptions::default()
    };
    stage_with(options, versions)
}

impl Stage {
    /// Lets both work for up to 30 s.
    fn run(&mut self) {
        let until = self.bench.now + 30 * SECOND;
        let pools = &mut self.pools;
        let act = |version, body: &mut [u8]| pools.act(version, body);
        self.bench.run(&mut self.guest, until, act);
    }

    /// The outcome of a request.
    fn outcome<T>(
        &mut self,
        request: Result<Pending<T, KvpError>, KvpError>,
    ) -> Result<T, KvpError> {
        let mut answer = request?;
        assert!(answer.take().is_none());
        self.run();
        answer.take().expect("an outcome")
    }

    fn add(&mut self, pool: Pool, key: &str, value: &Value) {
        let record = item::to_record(key, value).unwrap();
        self.pools.items.push((pool.wire().0, record));
    }

    /// Takes the next request from the ring and answers it as `change` has it.
    fn answer_with(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        self.bench.poll();
        let mut payload = self.bench.read().expect("a request");
        let pools = &mut self.pools;
        let act = |version, body: &mut [u8]| pools.act(version, body);
        assert!(self.guest.answer(&mut payload, act));
        change(&mut payload);
        self.bench.write(&payload);
        self.bench.poll();
    }
}

#[test]
fn items_are_written_read_and_removed_at_every_version() {
    for versions in [V1, V3, V4, V5] {
        let mut stage = stage(versions);
        assert_eq!(stage.handle.link(), Link::Ready(versions[0]));
        for (pool, value) in [
            (Pool::External, Value::from("text")),
            (Pool::Guest, Value::ExpandableText("%PATH%".into())),
            (Pool::AutoExternal, Value::U32(7)),
            (Pool::External, Value::U64(u64::MAX)),
        ] {
            let handle = stage.handle.clone();
            assert_eq!(stage.outcome(handle.set(pool, "key", &value)), Ok(()));
            assert_eq!(stage.outcome(handle.get(pool, "key")), Ok(value.clone()));
            assert_eq!(stage.outcome(handle.find(pool, "key")), Ok(value));
        }
        let handle = stage.handle.clone();
        assert_eq!(stage.outcome(handle.delete(Pool::Guest, "key")), Ok(()));
        let missing = Err(KvpError::NoSuchKey);
        assert_eq!(stage.outcome(handle.delete(Pool::Guest, "key")), missing);
        let missing = Err(KvpError::NoSuchKey);
        assert_eq!(stage.outcome(handle.get(Pool::Guest, "key")), missing);
        assert_eq!(stage.outcome(handle.find(Pool::Guest, "key")), missing);
    }
}

#[test]
fn the_largest_items_of_any_script_pass() {
    let mut stage = stage(V4);
    let handle = stage.handle.clone();
    let key = "日".repeat(255);
    let value = Value::Text("🦀".repeat(511) + "ü");
    assert_eq!(
        stage.outcome(handle.set(Pool::External, &key, &value)),
        Ok(())
    );
    assert_eq!(stage.outcome(handle.find(Pool::External, &key)), Ok(value));
    for (key, value) in [
        ("k".repeat(256), Value::U32(0)),
        (String::new(), Value::U32(0)),
        ("a\0b".to_owned(), Value::U32(0)),
        ("k".to_owned(), Value::Text("v".repeat(1024))),
    ] {
        let refused = handle.set(Pool::External, &key, &value).err();
        assert!(matches!(refused, Some(KvpError::Item(_))), "{refused:?}");
    }
}

// KV4h
#[test]
fn a_pool_is_read_to_its_end() {
    let mut stage = stage(V4);
    for index in 0..10 {
        stage.add(Pool::Auto, &format!("key {index}"), &Value::U32(index));
    }
    stage.add(Pool::Guest, "other", &Value::U32(0));
    let began = stage.bench.now;
    let request = stage.handle.list(Pool::Auto);
    let listing = stage.outcome(request).unwrap();
    assert_eq!((listing.items.len(), listing.end), (10, End::Complete));
    assert_eq!(listing.items[9].key, "key 9");
    assert_eq!(listing.items[9].value, Value::U32(9));
    let passed = stage.bench.now - began;
    assert!(
        passed >= 10 * WALK_INTERVAL,
        "200 requests a second at most"
    );
    assert_eq!(stage.handle.last_listing(Pool::Auto), Some(listing));
    assert_eq!(stage.handle.last_listing(Pool::Guest), None);
    stage.bench.close();
    assert_eq!(stage.handle.last_listing(Pool::Auto), None);
}

// KV4h
#[test]
fn fault_80_endless_pools_end() {
    let mut stage = stage(V4);
    for index in 0..MAX_ITEMS + 10 {
        stage.add(Pool::Guest, &index.to_string(), &Value::U32(index));
    }
    let request = stage.handle.list(Pool::Guest);
    let listing = stage.outcome(request).unwrap();
    assert_eq!((listing.items.len(), listing.end), (1024, End::Limit));

    // A guest that gives its first item for ever.
    let mut stage = self::stage(V4);
    stage.add(Pool::Guest, "k", &Value::U32(1));
    let mut answer = stage.handle.list(Pool::Guest).unwrap();
    let until = stage.bench.now + SECOND;
    let pools = &mut stage.pools;
    stage.bench.run(&mut stage.guest, until, |version, body| {
        body[4] = 0;
        pools.act(version, body)
    });
    let listing = answer.take().unwrap().unwrap();
    assert_eq!((listing.items.len(), listing.end), (1, End::Repeated));
}

#[test]
fn fault_80_a_guest_that_takes_its_time_with_each_item_is_given_up() {
    let mut stage = stage(V4);
    for index in 0..MAX_ITEMS {
        stage.add(Pool::Guest, &index.to_string(), &Value::U32(index));
    }
    let begun = stage.bench.now;
    let mut list = stage.handle.list(Pool::Guest).unwrap();
    let mut set = stage
        .handle
        .set(Pool::External, "key", &Value::U32(1))
        .unwrap();
    let mut listed = None;
    for _ in 0..10 {
        stage.answer_with(|_| {});
        listed = list.take();
        if listed.is_some() {
            break;
        }
        // Each answer comes in time.
        stage.bench.now += 39 * SECOND;
    }
    assert_eq!(listed, Some(Err(RequestError::TimedOut.into())));
    assert!(stage.bench.now - begun <= WALK_TIMEOUT + 40 * SECOND);
    // Others get their turn, in the same session.
    stage.run();
    assert_eq!(set.take(), Some(Ok(())));
}

#[test]
fn fault_80_items_that_are_none() {
    // A key without end, an empty one, half a unit, a lone surrogate: the walk ends.
    let bad: [fn(&mut Record); 4] = [
        |record| record.key_size = 2.into(),
        |record| record.key_size = 0.into(),
        |record| record.key_size = 3.into(),
        |record| record.key[0] = 0xDC00.into(),
    ];
    for bad in bad {
        let mut stage = stage(V4);
        stage.add(Pool::Guest, "good", &Value::U32(1));
        stage.add(Pool::Guest, "bad", &Value::U32(2));
        bad(&mut stage.pools.items[1].1);
        let request = stage.handle.list(Pool::Guest);
        let listing = stage.outcome(request).unwrap();
        assert_eq!((listing.items.len(), listing.end), (1, End::Malformed));
    }
    // An unreadable value: the walk goes on.
    let mut stage = stage(V4);
    for key in ["bad", "good"] {
        stage.add(Pool::Guest, key, &Value::from("text"));
    }
    stage.pools.items[0].1.value_type = ValueType(99.into());
    let handle = stage.handle.clone();
    let listing = stage.outcome(handle.list(Pool::Guest)).unwrap();
    assert_eq!((listing.items.len(), listing.unreadable), (1, 1));
    let refused = stage.outcome(handle.get(Pool::Guest, "bad"));
    assert!(matches!(refused, Err(KvpError::Answer(_))), "{refused:?}");
}

#[test]
fn fault_75_short_answers() {
    let shorten = |payload: &mut Vec<u8>| {
        payload[18..20].copy_from_slice(&4u16.to_le_bytes());
    };
    let mut stage = stage(V5);
    stage.add(Pool::Guest, "k", &Value::U32(1));
    let mut get = stage.handle.get(Pool::Guest, "k").unwrap();
    stage.answer_with(shorten);
    let short = KvpError::Request(RequestError::ShortAnswer(4));
    assert_eq!(get.take(), Some(Err(short)));
    let mut find = stage.handle.find(Pool::Guest, "k").unwrap();
    stage.answer_with(shorten);
    assert_eq!(find.take(), Some(Err(short)));
    let mut list = stage.handle.list(Pool::Guest).unwrap();
    stage.bench.now += SECOND;
    stage.answer_with(shorten);
    assert_eq!(list.take().unwrap().unwrap().end, End::Malformed);
    let mut ip = stage.handle.ip_info([0, 0x15, 0x5d, 1, 2, 3]).unwrap();
    stage.answer_with(shorten);
    let short = KvpError::IpInfo(IpInfoError::Short(4));
    assert_eq!(ip.take(), Some(Err(short)));
    // What sets something needs no body in its answer.
    let mut set = stage
        .handle
        .set(Pool::External, "k", &Value::U32(1))
        .unwrap();
    stage.answer_with(|payload| payload[18..20].fill(0));
    assert_eq!(set.take(), Some(Ok(())));
}

#[test]
fn addresses_are_set_and_read_at_every_version() {
    for versions in [V1, V3, V4, V5] {
        let mut stage = stage(versions);
        let handle = stage.handle.clone();
        let info = IpInfo {
            v4: true,
            v6: true,
            addresses: vec![AdapterAddress {
                address: "10.0.0.7".parse().unwrap(),
                prefix: Some(24),
                origin: Origin::Unknown,
            }],
            gateways: vec!["10.0.0.1".parse().unwrap()],
            dns_servers: vec!["fd00::53".parse().unwrap()],
            ..IpInfo::default()
        };
        let set = handle.set_ip_info(class::NETWORK, &info);
        assert_eq!(stage.outcome(set), Ok(()));
        assert_eq!(stage.pools.adapters, std::slice::from_ref(&info));
        let read = handle.ip_info([0, 0x15, 0x5d, 1, 2, 3]);
        assert_eq!(stage.outcome(read), Ok(info.clone()));
        let set = handle.set_ip_info(class::SCSI, &info);
        assert_eq!(stage.outcome(set), Err(KvpError::NoSuchAdapter));
        let read = handle.ip_info([0; 6]);
        let refused = KvpError::Request(RequestError::Refused(0x8000_4005));
        assert_eq!(stage.outcome(read), Err(refused));
    }
}

#[test]
fn items_of_the_host_come_first() {
    let options = KvpOptions {
        host_items: vec![
            HostItem::new("HostName", &Value::from("bench")).unwrap(),
            HostItem::new("VirtualMachineName", &Value::from("machine")).unwrap(),
        ],
        ..KvpOptions::default()
    };
    let refused = HostItem::new("", &Value::U32(0));
    assert!(matches!(refused, Err(KvpError::Item(_))));
    let mut stage = stage_with(options, V4);
    let keys: Vec<_> = stage
        .pools
        .items
        .iter()
        .map(|(pool, record)| (*pool, record.key().unwrap().to_string()))
        .collect();
    assert_eq!(
        keys,
        [(3, "HostName".into()), (3, "VirtualMachineName".into())]
    );
    let request = stage.handle.find(Pool::AutoExternal, "HostName");
    assert_eq!(stage.outcome(request), Ok(Value::from("bench")));
}

#[test]
fn what_cannot_be_asked_is_refused_at_once() {
    let (_, handle) = Kvp::new(KvpOptions::default());
    let not_ready = KvpError::Request(RequestError::NotReady);
    assert_eq!(handle.list(Pool::Auto).err(), Some(not_ready));
    assert_eq!(handle.link(), Link::Closed);
    let stage = stage(V4);
    let refused = stage.handle.set(Pool::Auto, "k", &Value::U32(1)).err();
    assert_eq!(refused, Some(KvpError::NotWritable(Pool::Auto)));
    let refused = stage.handle.delete(Pool::Auto, "k").err();
    assert_eq!(refused, Some(KvpError::NotWritable(Pool::Auto)));
    let requests: Vec<_> = (0..64)
        .map(|_| stage.handle.get(Pool::Guest, "k").unwrap())
        .collect();
    let busy = KvpError::Request(RequestError::Busy);
    assert_eq!(stage.handle.get(Pool::Guest, "k").err(), Some(busy));
    drop(requests);
}

/// A guest without a daemon never chooses a version.
#[test]
fn a_guest_that_never_negotiates_is_not_ready() {
    let (mut device, handle) = Kvp::new(KvpOptions::default());
    let mut bench = Bench::open(&mut device);
    assert_eq!(bench.poll(), NextPoll::OnSignal);
    bench.now += 1000 * SECOND;
    assert_eq!(bench.poll(), NextPoll::OnSignal);
    assert_eq!(handle.link(), Link::Negotiating);
    assert!(bench.read().is_some(), "one negotiation");
    assert!(bench.read().is_none(), "and no second");
}

#[test]
fn fault_84_late_answers_are_never_the_next_ones() {
    let mut stage = stage(V4);
    stage.add(Pool::Guest, "a", &Value::from("secret"));
    let mut first = stage.handle.get(Pool::Guest, "a").unwrap();
    let mut second = stage.handle.get(Pool::Guest, "b").unwrap();
    assert_eq!(
        stage.bench.poll(),
        NextPoll::At(stage.bench.now + REQUEST_TIMEOUT)
    );
    let mut late = stage.bench.read().unwrap();
    let pools = &mut stage.pools;
    stage
        .guest
        .answer(&mut late, |version, body| pools.act(version, body));
    stage.bench.now += REQUEST_TIMEOUT;
    stage.bench.poll();
    assert_eq!(first.take(), Some(Err(RequestError::TimedOut.into())));
    assert_eq!(second.take(), Some(Err(RequestError::NotReady.into())));
    assert_eq!(stage.handle.link(), Link::Negotiating);
    // The late answer, then the new negotiation.
    stage.bench.write(&late);
    stage.run();
    assert_eq!(stage.handle.link(), Link::Ready(Version::new(4, 0)));
    let request = stage.handle.get(Pool::Guest, "b");
    assert_eq!(stage.outcome(request), Err(KvpError::NoSuchKey));
}

#[test]
fn fault_83_requests_end_with_the_channel_and_the_service_begins_anew() {
    let mut stage = stage(V4);
    let mut waiting = stage.handle.list(Pool::Guest).unwrap();
    stage.bench.poll();
    stage.bench.close();
    assert_eq!(waiting.take(), Some(Err(RequestError::Abandoned.into())));
    assert_eq!(stage.handle.link(), Link::Closed);
    stage.bench = Bench::open(&mut stage.device);
    stage.guest = Guest::new(MessageType::KVP, V4);
    stage.run();
    let request = stage.handle.list(Pool::Guest);
    assert_eq!(stage.outcome(request).unwrap().end, End::Complete);
}

#[test]
fn fault_76_a_guest_that_breaks_the_protocol_ends_its_requests() {
    let mut stage = stage(V4);
    let mut waiting = stage.handle.list(Pool::Guest).unwrap();
    stage.answer_with(|payload| payload[25] = 3);
    let outcome = waiting.take().unwrap();
    assert!(matches!(
        outcome,
        Err(KvpError::Request(RequestError::GuestFault(_)))
    ));
    assert!(matches!(stage.handle.link(), Link::Failed(_)));
    let refused = stage.handle.list(Pool::Guest).err();
    assert!(matches!(
        refused,
        Some(KvpError::Request(RequestError::GuestFault(_)))
    ));
    assert_eq!(stage.bench.poll(), NextPoll::OnSignal);
}

#[test]
fn a_ring_that_cannot_hold_a_request_refuses_it_alone() {
    let (mut device, handle) = Kvp::new(KvpOptions::default());
    // 4 KiB of data.
    let mut bench = Bench::open_with_pages(&mut device, 2);
    let mut guest = Guest::new(MessageType::KVP, V4);
    let mut pools = Pools::default();
    let mut run =
        |bench: &mut Bench| bench.run_now(&mut guest, |version, body| pools.act(version, body));
    run(&mut bench);
    let mut large = handle.ip_info([0; 6]).unwrap();
    let mut small = handle.get(Pool::Guest, "k").unwrap();
    run(&mut bench);
    assert_eq!(large.take(), Some(Err(RequestError::TooLarge.into())));
    assert_eq!(small.take(), Some(Err(KvpError::NoSuchKey)));
}

#[test]
fn a_ring_without_room_is_waited_for_until_the_deadline() {
    let mut stage = stage(V4);
    stage.bench.fill();
    let mut waiting = stage.handle.get(Pool::Guest, "k").unwrap();
    let expiry = NextPoll::At(stage.bench.now + REQUEST_TIMEOUT);
    assert_eq!(stage.bench.poll(), expiry);
    stage.bench.now += REQUEST_TIMEOUT;
    stage.bench.poll();
    assert_eq!(waiting.take(), Some(Err(RequestError::TimedOut.into())));
    assert_eq!(stage.handle.link(), Link::Negotiating);
    while stage.bench.read().is_some() {}
    stage.run();
    assert_eq!(stage.handle.link(), Link::Ready(Version::new(4, 0)));
}

#[test]
fn requests_are_as_long_as_guests_expect() {
    let mut stage = stage(V4);
    let _answer = stage.handle.delete(Pool::Guest, "k").unwrap();
    stage.bench.poll();
    let payload = stage.bench.read().unwrap();
    assert_eq!(payload.len(), BODY_OFFSET + 2580);
    assert_eq!(
        payload[BODY_OFFSET..BODY_OFFSET + 10],
        [2, 1, 0, 0, 4, 0, 0, 0, b'k', 0]
    );
}
