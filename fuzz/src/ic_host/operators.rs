//! Who operates the services with requests of their own, and what holds whatever the guest answers.

use std::sync::Arc;

use host_sim::ic::file_copy::{CopySession, FileCopy, FileCopyHandle, FileCopyOptions, NewFile};
use host_sim::ic::kvp::{AdapterAddress, IpInfo, Origin};
use host_sim::ic::kvp::{
    HostItem, Item, Kvp, KvpHandle, KvpOptions, Listing, MAX_ITEMS, Pool, Value,
};
use host_sim::ic::time_sync::{ManualWallClock, TimeSync, TimeSyncOptions};
use host_sim::ic::vss::{FreezeRequest, Lun, Phase, Vss, VssHandle, VssOptions};
use host_sim::ic::{Link, Pending, RequestError};
use ic_services::service::Service;
use ic_services::session::{Definition, Dropped, Received, Session};
use ic_services::wire::{MessageType, Status, Version};
use vmbus_core::class;

use super::End;
use crate::input::Input;

/// Time until a request has had time enough, in the protocol's units.
const TIMEOUT: u64 = 20_000;
/// Most requests that an operator waits for.
const WAITING: usize = 100;

const FRAMEWORKS: &[Version] = &[Version::new(3, 0), Version::new(1, 0)];
const VERSIONS: &[Version] = &[
    Version::new(5, 0),
    Version::new(4, 0),
    Version::new(1, 1),
    Version::new(3, 0),
];

/// A guest that says yes to everything.
struct Willing {
    session: Session,
}

impl Willing {
    const fn new(message_type: MessageType) -> Self {
        Self {
            session: Session::new(Definition {
                message_type,
                frameworks: FRAMEWORKS,
                versions: VERSIONS,
                least_body: 1,
            }),
        }
    }
}

impl Service for Willing {
    type Order = ();

    fn session(&self) -> &Session {
        &self.session
    }

    fn handle(&mut self, payload: &mut [u8]) -> Result<Option<()>, Dropped> {
        if let Received::Request(request) = self.session.receive(payload)? {
            request.answer(Status::OK);
        }
        Ok(None)
    }
}

/// What somebody waits for.
trait Waiting {
    /// Whether it has come.
    fn has_come(&mut self) -> bool;
}

/// A request, and what must hold for its good outcome.
struct Request<T, E>(Pending<T, E>, fn(&T));

impl<T, E: From<RequestError> + std::fmt::Display> Waiting for Request<T, E> {
    fn has_come(&mut self) -> bool {
        match self.0.take() {
            None => return false,
            Some(Ok(value)) => self.1(&value),
            Some(Err(error)) => assert!(!error.to_string().is_empty()),
        }
        true
    }
}

type List = Vec<Box<dyn Waiting>>;

fn wait<T, E>(list: &mut List, request: Result<Pending<T, E>, E>, check: fn(&T))
where
    T: 'static,
    E: From<RequestError> + std::fmt::Display + 'static,
{
    match request {
        Ok(pending) => list.push(Box::new(Request(pending, check))),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    list.retain_mut(|waiting| !waiting.has_come());
    assert!(list.len() <= WAITING, "requests are bounded");
}

/// With the channel closed nothing is waited for.
fn all_have_come(mut list: List, link: Link) {
    assert_eq!(link, Link::Closed);
    assert!(list.iter_mut().all(|waiting| waiting.has_come()));
}

fn nothing<T>(_: &T) {}

pub(super) fn time_sync(input: &mut Input<'_>) {
    let clock = Arc::new(ManualWallClock::default());
    let (device, handle) = TimeSync::new(TimeSyncOptions {
        interval: super::INTERVAL,
        clock: clock.clone(),
        ..TimeSyncOptions::default()
    });
    let mut end = End::new(device, || Willing::new(MessageType::TIME_SYNC));
    end.run(input, |input| {
        match input.u8() % 3 {
            0 => handle.force_sync(),
            1 => handle.set_offset(input.u64() as i64),
            _ => clock.set(input.u64()),
        }
        let status = handle.status();
        assert!(status.answered + status.refused <= status.syncs + status.samples);
    });
}

fn text(input: &mut Input<'_>) -> String {
    String::from_utf8_lossy(input.bytes()).into_owned()
}

pub(super) fn kvp(input: &mut Input<'_>) {
    let options = KvpOptions {
        timeout: TIMEOUT,
        walk_interval: 10,
        host_items: vec![HostItem::new("HostName", &Value::from("fuzz")).expect("it fits")],
        ..KvpOptions::default()
    };
    let (device, handle) = Kvp::new(options);
    let mut list = List::new();
    let mut end = End::new(device, || Willing::new(MessageType::KVP));
    end.run(input, |input| operate_kvp(&handle, &mut list, input));
    all_have_come(list, handle.link());
}

fn operate_kvp(handle: &KvpHandle, list: &mut List, input: &mut Input<'_>) {
    let verb = input.u8() % 7;
    let pool = input.choose(&Pool::ALL);
    match verb {
        0 => {
            let key = text(input);
            let value = match input.u8() % 4 {
                0 => Value::Text(text(input)),
                1 => Value::ExpandableText(text(input)),
                2 => Value::U32(input.u32()),
                _ => Value::U64(input.u64()),
            };
            wait(list, handle.set(pool, &key, &value), nothing);
        }
        1 => wait(list, handle.delete(pool, &text(input)), nothing),
        2 => wait(list, handle.get(pool, &text(input)), check_value),
        3 => wait(list, handle.find(pool, &text(input)), check_value),
        4 => wait(list, handle.list(pool), check_listing),
        5 => wait(list, handle.ip_info(input.array()), check_addresses),
        _ => {
            let address = AdapterAddress {
                address: std::net::IpAddr::from(input.array::<16>()),
                prefix: Some(input.u8()),
                origin: Origin::Static,
            };
            let info = IpInfo {
                addresses: vec![address; input.below(100)],
                gateways: vec![std::net::IpAddr::from(input.array::<4>()); input.below(8)],
                ..IpInfo::default()
            };
            wait(list, handle.set_ip_info(class::NETWORK, &info), nothing);
        }
    }
    let _ = handle.last_listing(pool);
}

fn check_value(value: &Value) {
    assert!(value.to_string().len() <= 3 * 1024);
    if let Value::Text(text) | Value::ExpandableText(text) = value {
        assert!(!text.contains('\0'));
    }
}

fn check_listing(listing: &Listing) {
    assert!(listing.items.len() as u32 + listing.unreadable <= MAX_ITEMS);
    for Item { key, value } in &listing.items {
        assert!(!key.is_empty() && !key.contains('\0'));
        check_value(value);
    }
}

fn check_addresses(info: &IpInfo) {
    assert!(info.addresses.len() <= 1024 && info.gateways.len() <= 512);
    for entry in &info.addresses {
        let most = if entry.address.is_ipv4() { 32 } else { 128 };
        assert!(entry.prefix.is_none_or(|prefix| prefix <= most));
    }
}

pub(super) fn vss(input: &mut Input<'_>) {
    let (device, handle) = Vss::new(VssOptions {
        timeout: TIMEOUT,
        freeze_timeout: TIMEOUT,
        thaw_after: TIMEOUT,
        ..VssOptions::default()
    });
    let mut list = List::new();
    let mut end = End::new(device, || Willing::new(MessageType::VSS));
    end.run(input, |input| operate_vss(&handle, &mut list, input));
    all_have_come(list, handle.link());
    assert!(matches!(handle.phase(), Phase::Thawed | Phase::ThawOwed));
}

fn operate_vss(handle: &VssHandle, list: &mut List, input: &mut Input<'_>) {
    let request = |input: &mut Input<'_>| FreezeRequest {
        backup_type: input.u32(),
        auto_recovery: input.flag(),
        shared_disks: input.flag(),
        disks: vec![Lun::NONE; usize::from(input.u16()) % 300],
        timeout: input.flag().then(|| input.u64()),
    };
    match input.u8() % 7 {
        0 => wait(list, handle.check(), nothing),
        1 => wait(list, handle.direct_mapped_info(), nothing),
        2 => wait(list, handle.complete(), nothing),
        3 => {
            let thawed = handle.phase() == Phase::Thawed;
            let answer = handle.freeze(&request(input));
            assert!(answer.is_err() || thawed, "frozen twice");
            wait(list, answer, nothing);
        }
        4 => wait(list, handle.thaw(), nothing),
        5 => wait(list, handle.auto_recover(&request(input), &[]), nothing),
        _ => {
            let _ = handle.extend(input.u64());
        }
    }
}

pub(super) fn file_copy(input: &mut Input<'_>) {
    let (device, handle) = FileCopy::new(FileCopyOptions {
        timeout: TIMEOUT,
        ..FileCopyOptions::default()
    });
    let (mut list, mut session) = (List::new(), None);
    let mut end = End::new(device, || Willing::new(MessageType::FILE_COPY));
    end.run(input, |input| {
        operate_copy(&handle, &mut session, &mut list, input)
    });
    all_have_come(list, handle.link());
    assert_eq!(handle.progress(), None);
}

fn operate_copy(
    handle: &FileCopyHandle,
    session: &mut Option<CopySession>,
    list: &mut List,
    input: &mut Input<'_>,
) {
    match (input.u8() % 5, &session) {
        (0, _) => {
            let mut file = NewFile::new(text(input), text(input), input.u64());
            file.overwrite = input.flag();
            file.create_path = input.flag();
            match handle.start(&file) {
                Ok((begun, answer)) => {
                    *session = Some(begun);
                    wait(list, Ok(answer), nothing);
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        (1, Some(session)) => {
            let size = usize::from(input.u16()) % 6200;
            wait(list, session.write(&vec![7; size]), nothing);
        }
        (2, Some(session)) => wait(list, session.complete(), nothing),
        (3, _) => {
            let _ = handle.cancel();
        }
        _ => *session = None,
    }
    if let Some(progress) = handle.progress() {
        assert!(progress.copied <= progress.size);
    }
}
