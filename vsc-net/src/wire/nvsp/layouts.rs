//! Bodies of NVSP messages: what follows the message number.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{INDIRECTION_ENTRIES, MessageType};

/// The body of one kind of message.
pub trait Body: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned {
    /// The number of the message.
    const TYPE: MessageType;
}

macro_rules! body {
    (
        $(#[$attribute:meta])*
        $name:ident = $type:ident, $size:literal { $( $(#[$field_attribute:meta])* $field:ident: $field_type:ty, )+ }
    ) => {
        $(#[$attribute])*
        #[derive(
            Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
        )]
        #[repr(C)]
        pub struct $name { $( $(#[$field_attribute])* pub $field: $field_type, )+ }

        // The number is not part of the body.
        const _: () = assert!(size_of::<$name>() + 4 == $size);

        impl Body for $name {
            const TYPE: MessageType = MessageType::$type;
        }
    };
}

body! {
    /// [`MessageType::INIT`]: guests propose one version at a time, with both words equal.
    Init = INIT, 12 {
        /// Lowest version.
        min_version: U32,
        /// Highest version.
        max_version: U32,
    }
}

body! {
    /// [`MessageType::INIT_COMPLETE`].
    InitComplete = INIT_COMPLETE, 16 {
        /// The version once more for version 1, else all ones; guests ignore it.
        deprecated_version: U32,
        /// Most ranges in a GPA-direct packet; guests ignore it.
        max_mdl_chain_length: U32,
        /// See [`Status`](super::Status).
        status: U32,
    }
}

body! {
    /// [`MessageType::SEND_NDIS_VERSION`].
    NdisVersion = SEND_NDIS_VERSION, 12 {
        /// Major version.
        major: U32,
        /// Minor version, with 6.30 as 0x1E.
        minor: U32,
    }
}

body! {
    /// [`MessageType::SEND_RECEIVE_BUFFER`] and [`MessageType::SEND_SEND_BUFFER`]; the layout is one.
    SendBuffer = SEND_RECEIVE_BUFFER, 12 {
        /// The GPADL.
        gpadl: U32,
        /// The guest's number for the buffer.
        id: U16,
        /// 0.
        reserved: U16,
    }
}

body! {
    /// [`MessageType::SEND_RECEIVE_BUFFER_COMPLETE`] with its one descriptor.
    ReceiveBufferComplete = SEND_RECEIVE_BUFFER_COMPLETE, 28 {
        /// See [`Status`](super::Status).
        status: U32,
        /// Descriptors that follow: 1.
        section_count: U32,
        /// Offset of the first section: 0.
        offset: U32,
        /// Bytes of a section.
        section_size: U32,
        /// Sections.
        sections: U32,
        /// Where the last section ends.
        end_offset: U32,
    }
}

body! {
    /// [`MessageType::REVOKE_RECEIVE_BUFFER`] and [`MessageType::REVOKE_SEND_BUFFER`]; the layout is one.
    RevokeBuffer = REVOKE_RECEIVE_BUFFER, 6 {
        /// The guest's number for the buffer.
        id: U16,
    }
}

body! {
    /// [`MessageType::SEND_SEND_BUFFER_COMPLETE`].
    SendBufferComplete = SEND_SEND_BUFFER_COMPLETE, 12 {
        /// See [`Status`](super::Status).
        status: U32,
        /// Bytes of a section.
        section_size: U32,
    }
}

body! {
    /// [`MessageType::SEND_RNDIS_PACKET`].
    RndisPacket = SEND_RNDIS_PACKET, 16 {
        /// See [`ChannelType`](super::ChannelType).
        channel_type: U32,
        /// Section of the send buffer, or [`NO_SECTION`](super::NO_SECTION).
        section_index: U32,
        /// Bytes in the section.
        section_size: U32,
    }
}

body! {
    /// [`MessageType::SEND_RNDIS_PACKET_COMPLETE`].
    RndisPacketComplete = SEND_RNDIS_PACKET_COMPLETE, 8 {
        /// See [`Status`](super::Status).
        status: U32,
    }
}

body! {
    /// [`MessageType::SEND_NDIS_CONFIG`].
    NdisConfig = SEND_NDIS_CONFIG, 20 {
        /// Bytes of the longest frame: with the Ethernet header, without a VLAN tag.
        mtu: U32,
        /// 0.
        reserved: U32,
        /// See [`Capabilities`](super::Capabilities).
        capabilities: U64,
    }
}

body! {
    /// [`MessageType::SEND_VF_ASSOCIATION`].
    VfAssociation = SEND_VF_ASSOCIATION, 12 {
        /// 1 if the function is there, 0 if it has gone.
        allocated: U32,
        /// Serial number, which the function's device shows, too.
        serial: U32,
    }
}

body! {
    /// [`MessageType::SWITCH_DATA_PATH`].
    SwitchDataPath = SWITCH_DATA_PATH, 8 {
        /// See [`DataPath`](super::DataPath).
        active: U32,
    }
}

body! {
    /// [`MessageType::OID_QUERY_EX`].
    OidQueryEx = OID_QUERY_EX, 12 {
        /// NDIS object header.
        header: U32,
        /// The OID.
        oid: U32,
    }
}

body! {
    /// [`MessageType::OID_QUERY_EX_COMPLETE`].
    OidQueryExComplete = OID_QUERY_EX_COMPLETE, 12 {
        /// An NDIS status.
        status: U32,
        /// Bytes of information.
        bytes: U32,
    }
}

body! {
    /// [`MessageType::SUB_CHANNEL`], the request.
    SubChannelRequest = SUB_CHANNEL, 12 {
        /// See [`SubChannelOperation`](super::SubChannelOperation).
        operation: U32,
        /// Sub-channels wanted beside the primary channel.
        count: U32,
    }
}

body! {
    /// [`MessageType::SUB_CHANNEL`], the answer.
    SubChannelComplete = SUB_CHANNEL, 12 {
        /// See [`Status`](super::Status).
        status: U32,
        /// Sub-channels granted.
        count: U32,
    }
}

body! {
    /// [`MessageType::PACKET_DIRECT_API`], the answer that refuses.
    PacketDirectComplete = PACKET_DIRECT_API, 12 {
        /// The operation asked for.
        operation: U32,
        /// An NTSTATUS.
        status: U32,
    }
}

body! {
    /// [`MessageType::SEND_INDIRECTION_TABLE`] as it is sent: the table follows the fields.
    IndirectionTable = SEND_INDIRECTION_TABLE, 76 {
        /// Entries: 16.
        count: U32,
        /// Where the table begins, from the start of the message: 12.
        offset: U32,
        /// Queue of each hash value.
        entries: [U32; INDIRECTION_ENTRIES],
    }
}

impl IndirectionTable {
    /// A message with this table.
    #[must_use]
    pub fn new(queues: [u32; INDIRECTION_ENTRIES]) -> Self {
        Self {
            count: (INDIRECTION_ENTRIES as u32).into(),
            offset: 12.into(),
            entries: queues.map(U32::new),
        }
    }
}
