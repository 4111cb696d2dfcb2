//! INITIATE_CONTACT and its answer.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::layout::{Body, take, too_short};
use super::{MessageBuffer, MessageError, MessageType};
use crate::guid::Guid;
use crate::version::{FeatureFlags, ProtocolVersion};

/// State of the connection in an answer of the host. Open: every value may appear.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConnectionState(pub u8);

impl ConnectionState {
    /// Connected.
    pub const SUCCESS: Self = Self(0);
    /// The host lacks resources.
    pub const LOW_RESOURCES: Self = Self(1);
    /// Failed, for no stated reason.
    pub const UNKNOWN_FAILURE: Self = Self(2);

    /// Whether it is [`SUCCESS`](Self::SUCCESS).
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.0 == 0
    }
}

impl From<u8> for ConnectionState {
    fn from(wire: u8) -> Self {
        Self(wire)
    }
}

impl From<ConnectionState> for u8 {
    fn from(plain: ConnectionState) -> Self {
        plain.0
    }
}

/// Guest physical addresses of the monitor pages. 0 means none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MonitorPages {
    /// The page that the host writes.
    pub parent_to_child: u64,
    /// The page that the guest writes.
    pub child_to_parent: u64,
}

impl MonitorPages {
    /// No pages.
    pub const NONE: Self = Self {
        parent_to_child: 0,
        child_to_parent: 0,
    };

    /// Whether exactly one page is given, which a host must refuse in INITIATE_CONTACT.
    #[must_use]
    pub const fn is_incomplete(&self) -> bool {
        (self.parent_to_child == 0) != (self.child_to_parent == 0)
    }
}

/// The eight bytes of INITIATE_CONTACT whose meaning depends on the version that is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContactTarget {
    /// Before 5.0.
    InterruptPage(
        /// Guest physical address of the interrupt page.
        u64,
    ),
    /// From 5.0 on.
    Signal {
        /// Interrupt source for messages to the guest.
        sint: u8,
        /// Virtual trust level of the server (5.1 and later).
        vtl: u8,
        /// Features that the guest wants (6.0 and later).
        features: FeatureFlags,
    },
}

/// The guest asks for a connection of one version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InitiateContact {
    /// The version on the wire: the guest may ask for what this crate does not know.
    pub version: u32,
    /// Virtual processor that is to get the host's messages (3.0 and later).
    pub target_message_vp: u32,
    /// Interrupt page, or target and features.
    pub target: ContactTarget,
    /// Monitor pages.
    pub monitor_pages: MonitorPages,
    /// Id of the client: in the 56-byte form of 6.0 with [`FeatureFlags::CLIENT_ID`].
    pub client_id: Option<Guid>,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireContact {
    version: U32,
    target_message_vp: U32,
    target: [u8; 8],
    parent_to_child: U64,
    child_to_parent: U64,
}

const _: () = assert!(size_of::<WireContact>() + 8 == 40);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireTarget {
    sint: u8,
    vtl: u8,
    reserved: U16,
    features: U32,
}

const _: () = assert!(size_of::<WireTarget>() == size_of::<[u8; 8]>());

impl Body<'_> for InitiateContact {
    const TYPE: MessageType = MessageType::INITIATE_CONTACT;

    fn read(body: &[u8]) -> Result<Self, MessageError> {
        let (wire, rest) = take::<WireContact>(Self::TYPE, body)?;
        let version = wire.version.get();
        let mut client_id = None;
        let target = if version < ProtocolVersion::V5_0.wire() {
            ContactTarget::InterruptPage(u64::from_le_bytes(wire.target))
        } else {
            let target: WireTarget = zerocopy::transmute!(wire.target);
            // The word of features was reserved before 6.0, whatever it holds.
            let features = if version < ProtocolVersion::V6_0.wire() {
                FeatureFlags::empty()
            } else {
                FeatureFlags::from_bits_retain(target.features.get())
            };
            if features.contains(FeatureFlags::CLIENT_ID) {
                let minimum = size_of::<WireContact>() + size_of::<Guid>();
                let (id, _) = take::<Guid>(Self::TYPE, rest)
                    .map_err(|_| too_short(Self::TYPE, body, minimum))?;
                client_id = Some(id);
            }
            ContactTarget::Signal {
                sint: target.sint,
                vtl: target.vtl,
                features,
            }
        };
        Ok(Self {
            version,
            target_message_vp: wire.target_message_vp.get(),
            target,
            monitor_pages: MonitorPages {
                parent_to_child: wire.parent_to_child.get(),
                child_to_parent: wire.child_to_parent.get(),
            },
            client_id,
        })
    }

    fn write(&self, buffer: &mut MessageBuffer) -> Result<(), MessageError> {
        let target = match self.target {
            ContactTarget::InterruptPage(address) => address.to_le_bytes(),
            ContactTarget::Signal {
                sint,
                vtl,
                features,
            } => zerocopy::transmute!(WireTarget {
                sint,
                vtl,
                reserved: U16::ZERO,
                features: features.bits().into(),
            }),
        };
        buffer.append_wire(&WireContact {
            version: self.version.into(),
            target_message_vp: self.target_message_vp.into(),
            target,
            parent_to_child: self.monitor_pages.parent_to_child.into(),
            child_to_parent: self.monitor_pages.child_to_parent.into(),
        });
        if let Some(client_id) = self.client_id {
            buffer.append_wire(&client_id);
        }
        Ok(())
    }
}

/// The host answers INITIATE_CONTACT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VersionResponse {
    /// Whether the host speaks the version.
    pub supported: bool,
    /// Whether the connection stands, if the version is supported (2.4 and later).
    pub connection_state: ConnectionState,
    /// Before 5.0: the version. From 5.0 on: the connection for the guest's messages.
    pub version_or_connection_id: u32,
    /// Features that the host grants: in the forms of 20 and 40 bytes, and to be believed from 6.0 on.
    pub features: Option<FeatureFlags>,
    /// Monitor pages that the host supplies: in the form of 40 bytes, and to be believed where
    /// [`FeatureFlags::SERVER_SPECIFIED_MONITOR_PAGES`] was granted. Sent only together with
    /// [`features`](Self::features).
    pub monitor_pages: Option<MonitorPages>,
}

impl VersionResponse {
    /// The answer to a version that the host does not speak.
    pub const UNSUPPORTED: Self = Self {
        supported: false,
        connection_state: ConnectionState::SUCCESS,
        version_or_connection_id: 0,
        features: None,
        monitor_pages: None,
    };
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireResponse {
    supported: u8,
    connection_state: u8,
    reserved: U16,
    version_or_connection_id: U32,
}

const _: () = assert!(size_of::<WireResponse>() + 8 == 16);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireMonitorPages {
    padding: U32,
    parent_to_child: U64,
    child_to_parent: U64,
}

const _: () =
    assert!(size_of::<WireResponse>() + size_of::<U32>() + size_of::<WireMonitorPages>() + 8 == 40);

impl Body<'_> for VersionResponse {
    const TYPE: MessageType = MessageType::VERSION_RESPONSE;

    fn read(body: &[u8]) -> Result<Self, MessageError> {
        let (wire, rest) = take::<WireResponse>(Self::TYPE, body)?;
        let features = take::<U32>(Self::TYPE, rest).ok();
        let monitor_pages =
            features.and_then(|(_, rest)| take::<WireMonitorPages>(Self::TYPE, rest).ok());
        Ok(Self {
            supported: wire.supported != 0,
            connection_state: wire.connection_state.into(),
            version_or_connection_id: wire.version_or_connection_id.get(),
            features: features.map(|(bits, _)| FeatureFlags::from_bits_retain(bits.get())),
            monitor_pages: monitor_pages.map(|(wire, _)| MonitorPages {
                parent_to_child: wire.parent_to_child.get(),
                child_to_parent: wire.child_to_parent.get(),
            }),
        })
    }

    fn write(&self, buffer: &mut MessageBuffer) -> Result<(), MessageError> {
        buffer.append_wire(&WireResponse {
            supported: self.supported.into(),
            connection_state: self.connection_state.into(),
            reserved: U16::ZERO,
            version_or_connection_id: self.version_or_connection_id.into(),
        });
        if let Some(features) = self.features {
            buffer.append_wire(&U32::new(features.bits()));
            if let Some(pages) = self.monitor_pages {
                buffer.append_wire(&WireMonitorPages {
                    padding: U32::ZERO,
                    parent_to_child: pages.parent_to_child.into(),
                    child_to_parent: pages.child_to_parent.into(),
                });
            }
        }
        Ok(())
    }
}
