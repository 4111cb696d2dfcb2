//! RNDIS control messages: what the guest asks and sets.

use vsc_net::wire::ndis::{Offload, Oid};
use vsc_net::wire::rndis::{InitializeComplete, PacketFilter, Reply, Request, Status};
use zerocopy::IntoBytes;

use super::link::{Indication, LinkTeller};
use super::oid;
use super::settings::{OffloadSettings, Settings};
use super::shared::Shared;

/// Bytes of the longest control message that is read.
pub(super) const MAX_CONTROL: u32 = 8192;
/// Packets that one message of the channel may carry.
pub(super) const MAX_PACKETS: u32 = 8;
/// Bytes of the longest message of the channel, as guests are told.
const MAX_TRANSFER: u32 = 0xEFFF_FFFF;
/// Packets begin at multiples of 2 to this power.
const ALIGNMENT_FACTOR: u32 = 3;

/// What the guest has set, and what it knows.
pub(super) struct Control {
    pub(super) settings: Settings,
    pub(super) link: LinkTeller,
    /// Channels that the guest may use, the primary one included.
    pub(super) channels: u16,
    pub(super) ndis_version: (u32, u32),
}

/// What a control message has led to.
pub(super) struct Handled {
    /// Messages for the guest, in order.
    pub(super) replies: Vec<Vec<u8>>,
    /// The settings have changed.
    pub(super) has_changed: bool,
}

/// Lays out a message of any length.
fn message(reply: &Reply<'_>, information: usize) -> Vec<u8> {
    // The longest fixed part has 52 bytes.
    let mut bytes = vec![0; 52 + information];
    let length = reply.emit(&mut bytes).map_or(0, <[u8]>::len);
    bytes.truncate(length);
    bytes
}

/// The message that tells of an indication.
pub(super) fn indication(indication: Indication) -> Vec<u8> {
    let (status, word) = match indication {
        Indication::Connect => (Status::MEDIA_CONNECT, None),
        Indication::Disconnect => (Status::MEDIA_DISCONNECT, None),
        // Definite.
        Indication::NetworkChange => (Status::NETWORK_CHANGE, Some(2u32.to_le_bytes())),
    };
    let information = word.as_ref().map_or([].as_slice(), |word| word);
    message(
        &Reply::Indicate {
            status,
            information,
        },
        information.len(),
    )
}

impl Control {
    pub(super) fn new(shared: &Shared) -> Self {
        let policy = &shared.policy;
        Self {
            settings: Settings::initial(shared.address(), policy.large_send_v1),
            link: LinkTeller::default(),
            channels: 1,
            ndis_version: (6, 1),
        }
    }

    /// Takes a guest's message; `None` if it is none that can be answered.
    pub(super) fn handle(&mut self, bytes: &[u8], shared: &Shared) -> Option<Handled> {
        let request = match Request::parse(bytes) {
            Ok(request) => request,
            Err(error) => {
                tracing::debug!(%error, "RNDIS message refused");
                return None;
            }
        };
        let mut handled = Handled {
            replies: Vec::new(),
            has_changed: false,
        };
        if !self.settings.is_operational {
            match request {
                Request::Initialize(initialize) => {
                    let is_known = initialize.major_version.get() == 1;
                    handled.replies.push(self.initialize(
                        initialize.request_id.get(),
                        is_known,
                        shared,
                    ));
                    handled.has_changed = is_known;
                }
                Request::Halt { .. } => {}
                _ => return None,
            }
            return Some(handled);
        }
        match request {
            // Once; a guest that begins anew closes the channel first, or halts.
            Request::Initialize(_) => return None,
            Request::Halt { .. } => {
                self.halt();
                handled.has_changed = true;
            }
            Request::Query {
                request_id,
                oid,
                information,
            } => handled
                .replies
                .push(self.query(request_id, oid, information, shared)),
            Request::Set {
                request_id,
                oid,
                information,
            } => {
                let status = oid::set(self, oid, information, shared);
                handled.has_changed = status == Status::SUCCESS;
                handled
                    .replies
                    .push(message(&Reply::SetComplete { request_id, status }, 0));
                if oid == Oid::TCP_OFFLOAD_PARAMETERS && status == Status::SUCCESS {
                    handled.replies.push(self.offloads());
                }
            }
            Request::Reset => {
                self.settings.filter = PacketFilter::empty();
                self.settings.multicast.clear();
                handled.has_changed = true;
                handled.replies.push(message(
                    &Reply::ResetComplete {
                        status: Status::SUCCESS,
                        addressing_reset: true,
                    },
                    0,
                ));
            }
            Request::Keepalive { request_id } => handled.replies.push(message(
                &Reply::KeepaliveComplete {
                    request_id,
                    status: Status::SUCCESS,
                },
                0,
            )),
        }
        Some(handled)
    }

    fn initialize(&mut self, request_id: u32, is_known: bool, shared: &Shared) -> Vec<u8> {
        let status = if is_known {
            self.settings.is_operational = true;
            self.link.know(shared.is_link_up());
            Status::SUCCESS
        } else {
            Status::BAD_VERSION
        };
        let complete = InitializeComplete {
            request_id: request_id.into(),
            status: status.0.into(),
            major_version: 1.into(),
            minor_version: 0.into(),
            device_flags: 1.into(),
            medium: 0.into(),
            max_packets_per_message: MAX_PACKETS.into(),
            max_transfer_size: MAX_TRANSFER.into(),
            packet_alignment_factor: ALIGNMENT_FACTOR.into(),
            ..InitializeComplete::default()
        };
        message(&Reply::InitializeComplete(complete), 0)
    }

    /// The guest ends; it may begin anew.
    pub(super) fn halt(&mut self) {
        self.settings.is_operational = false;
        self.settings.filter = PacketFilter::empty();
        self.settings.multicast.clear();
        self.settings.scaling = None;
        self.settings.offloads = OffloadSettings::all(self.settings.offloads.large_send_v1);
        self.link.forget();
    }

    fn query(&mut self, request_id: u32, oid: Oid, information: &[u8], shared: &Shared) -> Vec<u8> {
        let answer = oid::query(self, oid, information, shared);
        let (status, information) = match &answer {
            Ok(information) => (Status::SUCCESS, information.as_slice()),
            Err(status) => (*status, [].as_slice()),
        };
        message(
            &Reply::QueryComplete {
                request_id,
                status,
                information,
            },
            information.len(),
        )
    }

    /// The indication that tells which offloads are in force.
    fn offloads(&self) -> Vec<u8> {
        let offload: Offload = self.settings.offloads.wire();
        let information = offload.as_bytes();
        message(
            &Reply::Indicate {
                status: Status::TASK_OFFLOAD_CURRENT_CONFIG,
                information,
            },
            information.len(),
        )
    }
}
