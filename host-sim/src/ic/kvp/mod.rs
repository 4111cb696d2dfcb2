//! Key-value exchange, host end: reads and writes the guest's items, asks for and sets its network addresses.
//!
//! Requests are queued and go out one at a time. A guest whose daemon is not running may never choose a version; the
//! service is not ready then.

mod error;
mod ip;
mod item;
mod state;
mod walk;

use std::collections::BTreeMap;

use ic_services::kvp::wire::exchange::{Delete, Exchange, PADDED_LENGTH, Record};
use ic_services::kvp::wire::{FIRST_WITH_BINARY_INFO, Header, Operation};
use ic_services::wire::{MessageType, Version};
use vmbus_core::class;
use vmbus_core::guid::Guid;
use zerocopy::IntoBytes;

pub use self::error::KvpError;
pub use self::ip::{AdapterAddress, IpInfo, IpInfoError, Origin};
pub use self::item::{Item, Pool, UnknownPool, Value};
use self::state::{Job, State, own};
use self::walk::Walk;
pub use self::walk::{End, Listing, MAX_ITEMS};
use super::channel::{ServiceChannel, Shared};
use super::pending::{Pending, Promise, pending};
use super::request::{Link, REQUEST_TIMEOUT, Requests};
use super::session::Offered;
use super::versions::ServiceVersions;
use crate::vmbus::vsp::{
    ChannelServices, OfferDescription, OpenRefused, OpenRequest, Vsp, VspChannel,
};

/// Time between two requests of a walk, in 100 ns units: 5 ms.
pub const WALK_INTERVAL: u64 = 50_000;

/// The versions that the host offers unless told otherwise.
const VERSIONS: ServiceVersions = ServiceVersions::fixed(
    &[Version::new(1, 0), Version::new(3, 0)],
    &[Version::new(3, 0), Version::new(4, 0), Version::new(5, 0)],
);

/// How the service works.
#[derive(Clone, Debug)]
pub struct KvpOptions {
    /// The versions offered.
    pub versions: ServiceVersions,
    /// Time that the guest has for an answer, in 100 ns units.
    pub timeout: u64,
    /// Time between two requests of a walk through a pool, in 100 ns units.
    pub walk_interval: u64,
    /// What the host says about itself.
    pub host_items: Vec<HostItem>,
}

impl Default for KvpOptions {
    /// All versions, no items of the host's, the protocol's times.
    fn default() -> Self {
        Self {
            versions: VERSIONS,
            timeout: REQUEST_TIMEOUT,
            walk_interval: WALK_INTERVAL,
            host_items: Vec::new(),
        }
    }
}

/// An item that is written into [`Pool::AutoExternal`] of each guest as soon as it listens: what the host says about
/// itself, such as `HostName` or `VirtualMachineName`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostItem {
    key: String,
    body: Vec<u8>,
}

impl HostItem {
    /// An item.
    ///
    /// # Errors
    /// [`KvpError::Item`] if it does not fit a message.
    pub fn new(key: &str, value: &Value) -> Result<Self, KvpError> {
        let body = set_body(Pool::AutoExternal, key, value)?;
        let key = key.to_owned();
        Ok(Self { key, body })
    }
}

fn exchange(operation: Operation, pool: Pool, record: Record) -> Vec<u8> {
    let body = Exchange {
        header: Header {
            operation,
            pool: pool.wire(),
        },
        reserved: 0.into(),
        record,
    };
    padded(body.as_bytes())
}

/// Hosts send all these messages at the length of the longest.
fn padded(body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(PADDED_LENGTH, 0);
    body
}

fn set_body(pool: Pool, key: &str, value: &Value) -> Result<Vec<u8>, KvpError> {
    let record = item::to_record(key, value).map_err(own)?;
    Ok(exchange(Operation::SET, pool, record))
}

/// The service's device on the bus.
pub struct Kvp {
    versions: ServiceVersions,
    state: Shared<State>,
}

/// Asks the guest; clones share the service.
///
/// Each verb returns at once: an error if the request can't be made, or the answer that will come.
#[derive(Clone)]
pub struct KvpHandle {
    state: Shared<State>,
}

impl Kvp {
    /// A service without requests.
    #[must_use]
    pub fn new(options: KvpOptions) -> (Self, KvpHandle) {
        let state = Shared::new(State {
            requests: Requests::new(),
            host_items: options.host_items,
            timeout: options.timeout,
            walk_interval: options.walk_interval,
            next_walk: 0,
            listings: BTreeMap::new(),
        });
        let handle = KvpHandle {
            state: state.clone(),
        };
        let versions = options.versions;
        (Self { versions, state }, handle)
    }
}

impl KvpHandle {
    /// How the service and its guest stand.
    #[must_use]
    pub fn link(&self) -> Link {
        self.state.lock().requests.link()
    }

    /// Stores an item in the guest.
    ///
    /// # Errors
    /// [`KvpError`] if it can't be asked for: the pool is not the host's to write, the item does not fit, the guest
    /// does not listen or too many requests wait.
    pub fn set(
        &self,
        pool: Pool,
        key: &str,
        value: &Value,
    ) -> Result<Pending<(), KvpError>, KvpError> {
        check_writable(pool)?;
        let body = set_body(pool, key, value)?;
        self.submit(Job::Status, |_| Ok(body))
    }

    /// Removes an item from the guest.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn delete(&self, pool: Pool, key: &str) -> Result<Pending<(), KvpError>, KvpError> {
        check_writable(pool)?;
        let body = Delete::new(pool.wire(), key).map_err(own)?;
        self.submit(Job::Status, |_| Ok(padded(body.as_bytes())))
    }

    /// Asks the guest for the value of a key, in one request. Not all guests know what to say: Linux answers with
    /// an empty text whatever the value. [`find`](Self::find) works with all.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn get(&self, pool: Pool, key: &str) -> Result<Pending<Value, KvpError>, KvpError> {
        let record = Record::with_key(key).map_err(own)?;
        let body = exchange(Operation::GET, pool, record);
        self.submit(Job::Get, |_| Ok(body))
    }

    /// Looks through the items of a pool for a key.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn find(&self, pool: Pool, key: &str) -> Result<Pending<Value, KvpError>, KvpError> {
        Record::with_key(key).map_err(own)?;
        let walk = Walk::new(pool, Some(key.to_owned()));
        let body = walk.request();
        self.submit(|promise| Job::Find(walk, promise), |_| Ok(body))
    }

    /// Reads all items of a pool.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn list(&self, pool: Pool) -> Result<Pending<Listing, KvpError>, KvpError> {
        let walk = Walk::new(pool, None);
        let body = walk.request();
        self.submit(|promise| Job::List(walk, promise), |_| Ok(body))
    }

    /// What [`list`](Self::list) has found last in a pool, since the guest opened the service.
    #[must_use]
    pub fn last_listing(&self, pool: Pool) -> Option<Listing> {
        self.state.lock().listings.get(&pool).cloned()
    }

    /// Asks for the addresses of the adapter with this MAC address.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn ip_info(&self, mac: [u8; 6]) -> Result<Pending<IpInfo, KvpError>, KvpError> {
        let asked = IpInfo {
            v4: true,
            v6: true,
            ..IpInfo::default()
        };
        self.submit(Job::IpInfo, |version| {
            let binary = version >= FIRST_WITH_BINARY_INFO;
            Ok(ip::encode(
                Operation::GET_IP_INFO,
                &ip::mac_text(mac),
                &asked,
                binary,
            )?)
        })
    }

    /// Gives addresses to the adapter with this instance.
    ///
    /// # Errors
    /// As [`set`](Self::set); [`KvpError::IpInfo`] if the addresses do not fit the agreed version's message.
    pub fn set_ip_info(
        &self,
        instance: Guid,
        info: &IpInfo,
    ) -> Result<Pending<(), KvpError>, KvpError> {
        self.submit(Job::Status, |version| {
            let binary = version >= FIRST_WITH_BINARY_INFO;
            let adapter = ip::instance_text(instance);
            Ok(ip::encode(Operation::SET_IP_INFO, &adapter, info, binary)?)
        })
    }

    fn submit<T>(
        &self,
        job: impl FnOnce(Promise<T, KvpError>) -> Job,
        body: impl FnOnce(Version) -> Result<Vec<u8>, KvpError>,
    ) -> Result<Pending<T, KvpError>, KvpError> {
        let mut state = self.state.lock();
        let version = state.requests.version()?;
        state.requests.check_room()?;
        let body = body(version)?;
        let (promise, answer) = pending();
        let timeout = state.timeout;
        state.requests.submit(body, timeout, job(promise));
        let waker = state.requests.waker();
        // The channel takes the lock when it is woken.
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(answer)
    }
}

fn check_writable(pool: Pool) -> Result<(), KvpError> {
    if !pool.is_writable() {
        return Err(KvpError::NotWritable(pool));
    }
    Ok(())
}

impl Vsp for Kvp {
    fn offer(&self) -> OfferDescription {
        OfferDescription::message_pipe(class::KVP, class::instance::KVP)
    }

    fn open(
        &mut self,
        _request: OpenRequest,
        services: ChannelServices,
    ) -> Result<Box<dyn VspChannel>, OpenRefused> {
        let offered = Offered {
            message_type: MessageType::KVP,
            versions: self.versions.clone(),
        };
        let channel = ServiceChannel::new(offered, self.state.clone(), &services);
        Ok(Box::new(channel))
    }
}

#[cfg(test)]
mod tests;
