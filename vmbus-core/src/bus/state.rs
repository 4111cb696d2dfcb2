//! What the handles of a bus share.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::sync::atomic::AtomicU64;
use core::task::{Poll, Waker};

use hypercall::Processor;
use hypercall::invoke::ParameterPage;
use spin::Mutex;

use super::memory::SharedMemory;
use super::pages::BusPages;
use super::processors::Processors;
use super::pump::Posting;
use super::reply::{Replies, Reply, ReplyKey, Wakeups};
use super::{BusEvent, BusOptions, BusProcessor, Offer};
use crate::channel::ChannelEvent;
use crate::connection::{
    ChannelKey, ChannelPhase, ChannelView, Connection, ConnectionOptions, RequestError,
};
use crate::platform::{PAGE_SIZE, Runtime};
use crate::protocol::{ChannelId, GpadlId, connection_id};

/// Events that are kept for those who do not ask for them.
pub(super) const BUS_EVENTS_MAX: usize = 4096;

pub(crate) struct Shared<R: Runtime, C: Processor> {
    pub(crate) runtime: Arc<R>,
    pub(super) processors: Processors<C>,
    pub(super) pages: BusPages<R>,
    pub(crate) state: Mutex<State<R>>,
    /// Who is to be told of a channel's interrupts. Apart from the state, so that interrupts of channels
    /// do not wait for messages.
    pub(super) interrupts: Mutex<BTreeMap<ChannelId, Arc<ChannelEvent>>>,
    /// When the state must be looked at for its deadlines.
    pub(super) next_timer: AtomicU64,
}

pub(crate) struct State<R: Runtime> {
    pub(super) options: BusOptions,
    pub(crate) connection: Connection,
    pub(super) parameters: ParameterPage,
    /// Keeps the page of `parameters`.
    _parameter_memory: SharedMemory<R>,
    pub(super) posting: Option<Posting>,
    pub(super) replies: Replies,
    /// Memory that the host may see.
    pub(crate) memory: BTreeMap<GpadlId, Arc<SharedMemory<R>>>,
    /// The interrupts of channels that are open or being opened.
    pub(super) channel_events: BTreeMap<ChannelKey, Arc<ChannelEvent>>,
    pub(super) all_offers_delivered: bool,
    pub(super) bus_events: VecDeque<BusEvent>,
    event_waiters: Vec<Waker>,
    pub(super) offer_waiters: Vec<Waker>,
    /// When the first of them gives up.
    offer_deadline: Option<u64>,
}

impl<R: Runtime> State<R> {
    /// The offers that exist and fulfil a condition.
    pub(crate) fn offers(&self, wanted: impl Fn(&ChannelView<'_>) -> bool) -> Vec<Offer> {
        self.connection
            .channels()
            .filter(|view| view.phase != ChannelPhase::Rescinded && wanted(view))
            .map(|view| Offer {
                key: view.key,
                description: *view.offer,
            })
            .collect()
    }

    /// Somebody is about to wait for a reply.
    pub(crate) fn expect(&mut self, key: ReplyKey) {
        self.replies.expect(key);
    }

    /// Whether a channel is open or being opened.
    pub(crate) fn is_in_use(&self, key: ChannelKey) -> bool {
        self.channel_events.contains_key(&key)
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        let posting = self.posting.as_ref().map(|posting| posting.not_before);
        posting
            .into_iter()
            .chain(self.connection.next_deadline())
            .chain(self.offer_deadline)
            .min()
    }

    pub(super) fn wait_for_events(&mut self, waker: &Waker) {
        keep(&mut self.event_waiters, waker);
    }

    /// Ends the waits whose time is over.
    pub(super) fn expire(&mut self, now: u64, wake: &mut Wakeups) {
        self.connection.expire(now);
        if self.offer_deadline.is_some_and(|deadline| deadline <= now) {
            // Those whose time is not over wait again.
            self.offer_deadline = None;
            wake.wakers.append(&mut self.offer_waiters);
        }
    }

    pub(super) fn push_event(&mut self, event: BusEvent, wake: &mut Wakeups) {
        if self.bus_events.len() >= BUS_EVENTS_MAX {
            self.bus_events.clear();
            self.bus_events.push_back(BusEvent::Overflowed);
        }
        self.bus_events.push_back(event);
        wake.wakers.append(&mut self.event_waiters);
        wake.wakers.append(&mut self.offer_waiters);
    }
}

fn keep(wakers: &mut Vec<Waker>, waker: &Waker) {
    if !wakers.iter().any(|known| known.will_wake(waker)) {
        wakers.push(waker.clone());
    }
}

impl<R: Runtime, C: Processor> Shared<R, C> {
    pub(super) fn new(
        runtime: Arc<R>,
        processor: BusProcessor<C>,
        options: BusOptions,
    ) -> Option<Self> {
        let pages = BusPages::allocate(&runtime)?;
        let memory = SharedMemory::allocate(runtime.clone(), 1)?;
        // SAFETY: the page is page-aligned, ours alone, has this address, and is kept beside the value
        // that uses it. The hypervisor reads it only during hypercalls.
        let parameters = unsafe { ParameterPage::new(memory.base(), memory.address(0)) }?;
        let connection = Connection::new(ConnectionOptions {
            newest: options.newest,
            oldest: options.oldest,
            message_vp: processor.vp_index,
            interrupt_page: pages.interrupt_page(),
            monitor_pages: pages.monitor_pages(),
            features: options.features,
            client_id: options.client_id,
            contact_connection: connection_id::MESSAGE_MULTI_CLIENT,
        });
        Some(Self {
            runtime,
            processors: Processors::new(processor),
            pages,
            state: Mutex::new(State {
                options,
                connection,
                parameters,
                _parameter_memory: memory,
                posting: None,
                replies: Replies::default(),
                memory: BTreeMap::new(),
                channel_events: BTreeMap::new(),
                all_offers_delivered: false,
                bus_events: VecDeque::new(),
                event_waiters: Vec::new(),
                offer_waiters: Vec::new(),
                offer_deadline: None,
            }),
            interrupts: Mutex::new(BTreeMap::new()),
            next_timer: AtomicU64::new(u64::MAX),
        })
    }

    /// Deadline of a request that is made now.
    pub(crate) fn request_deadline(state: &State<R>, now: u64) -> u64 {
        now.saturating_add(state.options.request_timeout)
    }

    /// Somebody is about to wait for a reply, until the guard is dropped.
    pub(crate) fn expect(&self, key: ReplyKey) -> Waiting<'_, R, C> {
        self.state.lock().expect(key);
        self.waiting(key)
    }

    /// As [`expect`](Self::expect), unless somebody waits for it already.
    pub(crate) fn expect_alone(&self, key: ReplyKey) -> Option<Waiting<'_, R, C>> {
        let mut state = self.state.lock();
        if state.replies.is_expected(key) {
            return None;
        }
        state.expect(key);
        Some(self.waiting(key))
    }

    /// Somebody waits for a reply, until the guard is dropped.
    pub(crate) const fn waiting(&self, key: ReplyKey) -> Waiting<'_, R, C> {
        Waiting { shared: self, key }
    }

    /// Waits for a reply.
    pub(crate) async fn reply(&self, key: ReplyKey) -> Reply {
        poll_fn(|context| self.with(|state, _| state.replies.poll(key, context))).await
    }

    /// Waits for the reply to a request.
    pub(crate) async fn request_reply(&self, key: ReplyKey) -> Result<(), RequestError> {
        match self.reply(key).await {
            Reply::Request(result) => result,
            _ => Err(RequestError::Cancelled),
        }
    }

    /// Waits until the offers fulfil a condition.
    pub(crate) async fn wait_offers<T>(
        &self,
        mut look: impl FnMut(&State<R>) -> Option<T>,
    ) -> Result<T, RequestError> {
        let deadline = {
            let state = self.state.lock();
            Self::request_deadline(&state, self.runtime.now())
        };
        poll_fn(|context| {
            self.with(|state, now| {
                if let Some(found) = look(state) {
                    return Poll::Ready(Ok(found));
                }
                if state.connection.agreement().is_none() {
                    return Poll::Ready(Err(RequestError::Disconnected));
                }
                if deadline <= now {
                    return Poll::Ready(Err(RequestError::TimedOut));
                }
                keep(&mut state.offer_waiters, context.waker());
                let first = state.offer_deadline.unwrap_or(deadline);
                state.offer_deadline = Some(first.min(deadline));
                Poll::Pending
            })
        })
        .await
    }
}

/// Somebody waits for a reply.
pub(crate) struct Waiting<'a, R: Runtime, C: Processor> {
    shared: &'a Shared<R, C>,
    key: ReplyKey,
}

impl<R: Runtime, C: Processor> Drop for Waiting<'_, R, C> {
    fn drop(&mut self) {
        self.shared.state.lock().replies.forget(self.key);
    }
}

impl<R: Runtime, C: Processor> Drop for Shared<R, C> {
    fn drop(&mut self) {
        debug_assert_eq!(PAGE_SIZE, hypercall::PAGE_SIZE);
        if self.state.get_mut().connection.agreement().is_some() {
            log::warn!("VMBus: the connection is dropped without UNLOAD");
        }
    }
}
