//! The scripted VMBus host of the test's machine.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use hypercall::call::Status;

use super::machine::pointer;
use crate::class;
use crate::gpadl::GpadlRanges;
use crate::guid::Guid;
use crate::protocol::{
    AllOffersDelivered, ChannelId, ConnectionState, ContactTarget, GpadlCreated, GpadlTorndown,
    GuestMessage, HostMessage, MessageBuffer, ModifyChannelResponse, OfferChannel, OfferFlags,
    OpenChannel, OpenChannelResult, ReplyStatus, UnloadResponse, VersionResponse,
};
use crate::ring::{ControlPage, FlatRing, IncomingRing, OutgoingRing};
use crate::version::{FeatureFlags, ProtocolVersion};

/// What the host does.
pub(super) struct Host {
    /// The newest version that it speaks.
    pub(super) newest: ProtocolVersion,
    pub(super) offers: Vec<OfferChannel>,
    /// Types of messages that it takes and does not answer.
    pub(super) silent: BTreeSet<u32>,
    /// Status of its answers to OPEN_CHANNEL.
    pub(super) open_status: ReplyStatus,
    /// Types of the messages that it has got, in order.
    pub(super) got: Vec<u32>,
    /// Statuses of the next posts, instead of taking them.
    pub(super) refuse_posts: VecDeque<Status>,
    /// Signals: connection and flag.
    pub(super) signals: Vec<(u32, u16)>,
    pub(super) contact: Option<crate::protocol::InitiateContact>,
    version: ProtocolVersion,
    /// Lists under way: words that are still missing, and those that are there.
    lists: BTreeMap<u32, (ChannelId, usize, Vec<u64>)>,
    gpadls: BTreeMap<u32, Vec<u64>>,
    opened: BTreeMap<ChannelId, OpenChannel>,
    /// Messages for the guest.
    pub(super) queue: VecDeque<Vec<u8>>,
}

/// The host's end of a channel's rings.
pub(super) type HostRings = (IncomingRing<FlatRing>, OutgoingRing<FlatRing>);

impl Host {
    pub(super) fn new() -> Self {
        Self {
            newest: ProtocolVersion::NEWEST,
            offers: alloc::vec![offer(1, 1, 0), offer(2, 2, 0)],
            silent: BTreeSet::new(),
            open_status: ReplyStatus::SUCCESS,
            got: Vec::new(),
            refuse_posts: VecDeque::new(),
            signals: Vec::new(),
            contact: None,
            version: ProtocolVersion::OLDEST,
            lists: BTreeMap::new(),
            gpadls: BTreeMap::new(),
            opened: BTreeMap::new(),
            queue: VecDeque::new(),
        }
    }

    /// Sends a message, or whatever these bytes are.
    pub(super) fn send(&mut self, message: impl Into<HostMessage>) {
        let mut buffer = MessageBuffer::new();
        message.into().emit(&mut buffer);
        self.queue.push_back(buffer.as_bytes().to_vec());
    }

    pub(super) fn send_bytes(&mut self, bytes: &[u8]) {
        self.queue.push_back(bytes.to_vec());
    }

    pub(super) fn count(&self, message_type: u32) -> usize {
        self.got.iter().filter(|got| **got == message_type).count()
    }

    pub(super) fn open_request(&self, channel: ChannelId) -> OpenChannel {
        self.opened[&channel]
    }

    /// The host's end of an open channel's rings.
    pub(super) fn rings(&self, channel: ChannelId) -> HostRings {
        let open = self.opened[&channel];
        let frames = &self.gpadls[&open.ring_gpadl_id.0];
        let downstream = open.downstream_page_offset;
        let ring = |first: u32, pages: u32| {
            let base = pointer(frames[first as usize]);
            // The test's memory is contiguous; check that the frames say so.
            for index in 0..u64::from(pages) {
                assert_eq!(
                    frames[first as usize] + index,
                    frames[first as usize + index as usize]
                );
            }
            // SAFETY: the pages are the guest's rings, which live as long as the test's channel.
            unsafe { FlatRing::new(base, pages) }
        };
        let total = frames.len() as u32;
        (
            IncomingRing::attach(ring(0, downstream)).unwrap(),
            OutgoingRing::attach(ring(downstream, total - downstream)).unwrap(),
        )
    }

    pub(super) fn handle(&mut self, connection: u32, bytes: &[u8]) {
        let message = GuestMessage::parse(bytes).unwrap();
        let message_type = message.message_type();
        self.got.push(message_type.0);
        if self.silent.contains(&message_type.0) {
            return;
        }
        match message {
            GuestMessage::InitiateContact(contact) => {
                let new = contact.version >= ProtocolVersion::V5_0.wire();
                assert_eq!(connection, if new { 4 } else { 1 });
                assert!(!contact.monitor_pages.is_incomplete());
                if contact.version > self.newest.wire() {
                    self.send(VersionResponse::UNSUPPORTED);
                    return;
                }
                self.contact = Some(contact);
                self.version = ProtocolVersion::try_from(contact.version).unwrap();
                self.opened.clear();
                self.gpadls.clear();
                let features = match contact.target {
                    ContactTarget::Signal { features, .. } if self.version.has_feature_flags() => {
                        Some(features & FeatureFlags::GUEST_SPECIFIED_SIGNAL_PARAMETERS)
                    }
                    _ => None,
                };
                self.send(VersionResponse {
                    supported: true,
                    connection_state: ConnectionState::SUCCESS,
                    version_or_connection_id: if new { 0x77 } else { contact.version },
                    features,
                    monitor_pages: None,
                });
                return;
            }
            _ => {
                let expected = if self.version.has_message_connection() {
                    0x77
                } else {
                    1
                };
                assert_eq!(connection, expected);
            }
        }
        match message {
            GuestMessage::RequestOffers(_) => {
                for offer in self.offers.clone() {
                    self.send(offer);
                }
                self.send(AllOffersDelivered {});
            }
            GuestMessage::GpadlHeader(header) => {
                let entry = (
                    header.channel_id,
                    usize::from(header.range_bytes) / 8,
                    Vec::new(),
                );
                self.lists.insert(header.gpadl_id.0, entry);
                self.list_part(header.gpadl_id.0, header.data);
            }
            GuestMessage::GpadlBody(body) => self.list_part(body.gpadl_id.0, body.data),
            GuestMessage::OpenChannel(open) => {
                if self.open_status.is_success() {
                    self.opened.insert(open.channel_id, open);
                }
                let frames = &self.gpadls[&open.ring_gpadl_id.0];
                // Statement 16: the guest's feature bit is there before OPEN.
                // SAFETY: the frame is the control page of the guest's ring.
                let control = unsafe { pointer(frames[0]).cast::<ControlPage>().as_ref() };
                assert_ne!(feature_bits(control) & 1, 0);
                self.send(OpenChannelResult {
                    channel_id: open.channel_id,
                    open_id: open.open_id,
                    status: self.open_status,
                });
            }
            GuestMessage::CloseChannel(close) => {
                self.opened.remove(&close.channel_id);
            }
            GuestMessage::GpadlTeardown(teardown) => {
                assert!(
                    self.opened
                        .values()
                        .all(|open| open.ring_gpadl_id != teardown.gpadl_id),
                    "teardown of the rings before CLOSE"
                );
                self.gpadls.remove(&teardown.gpadl_id.0);
                self.send(GpadlTorndown {
                    gpadl_id: teardown.gpadl_id,
                });
            }
            GuestMessage::ModifyChannel(modify) if self.version >= ProtocolVersion::V5_3 => {
                self.send(ModifyChannelResponse {
                    channel_id: modify.channel_id,
                    status: ReplyStatus::SUCCESS,
                });
            }
            GuestMessage::Unload(_) if self.version >= ProtocolVersion::V1_1 => {
                self.opened.clear();
                self.gpadls.clear();
                self.send(UnloadResponse {});
            }
            _ => {}
        }
    }

    fn list_part(&mut self, gpadl: u32, data: &[u8]) {
        let (channel_id, missing, words) = self.lists.get_mut(&gpadl).unwrap();
        for word in data.as_chunks::<8>().0.iter().take(*missing) {
            words.push(u64::from_le_bytes(*word));
        }
        *missing -= data.len() / 8;
        if *missing > 0 {
            return;
        }
        let range = GpadlRanges::parse(words, 1).unwrap().next().unwrap();
        self.gpadls.insert(gpadl, range.page_frames.to_vec());
        let created = GpadlCreated {
            channel_id: *channel_id,
            gpadl_id: crate::protocol::GpadlId(gpadl),
            status: ReplyStatus::SUCCESS,
        };
        self.lists.remove(&gpadl);
        self.send(created);
    }
}

/// Feature bits of a ring, at byte 64 of its control page.
fn feature_bits(control: &ControlPage) -> u32 {
    let base = core::ptr::from_ref(control).cast::<AtomicU32>();
    // SAFETY: the page has 4096 bytes and consists of atomics.
    unsafe { (*base.add(16)).load(Ordering::SeqCst) }
}

pub(super) fn offer(id: u32, instance: u8, index: u16) -> OfferChannel {
    OfferChannel {
        interface: class::SCSI,
        instance: Guid::from_bytes([instance; 16]),
        flags: OfferFlags::empty(),
        mmio_megabytes: 0,
        user_data: [0; 120],
        sub_channel_index: index,
        optional_mmio_megabytes: 0,
        channel_id: ChannelId(id),
        monitor_id: None,
        dedicated_interrupt: true,
        connection_id: 0x2000 | id,
    }
}
