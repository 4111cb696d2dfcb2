//! Message numbers, statuses and capabilities of NVSP.

vmbus_core::open_enum! {
    /// What an NVSP message is.
    MessageType: u32 {
        /// Not a message.
        NONE = 0,
        /// Guest: proposes one version.
        INIT = 1,
        /// Answer to [`INIT`](Self::INIT).
        INIT_COMPLETE = 2,
        /// Guest: its NDIS version. No answer.
        SEND_NDIS_VERSION = 100,
        /// Guest: lends the receive buffer.
        SEND_RECEIVE_BUFFER = 101,
        /// Answer: sections of the receive buffer.
        SEND_RECEIVE_BUFFER_COMPLETE = 102,
        /// Guest: takes the receive buffer back. No answer.
        REVOKE_RECEIVE_BUFFER = 103,
        /// Guest: lends the send buffer.
        SEND_SEND_BUFFER = 104,
        /// Answer: size of the send buffer's sections.
        SEND_SEND_BUFFER_COMPLETE = 105,
        /// Guest: takes the send buffer back. No answer.
        REVOKE_SEND_BUFFER = 106,
        /// Both: an RNDIS message, or several packets.
        SEND_RNDIS_PACKET = 107,
        /// Answer to [`SEND_RNDIS_PACKET`](Self::SEND_RNDIS_PACKET).
        SEND_RNDIS_PACKET_COMPLETE = 108,
        /// Guest: MTU and capabilities, from version 2 on. No answer.
        SEND_NDIS_CONFIG = 125,
        /// Host: a virtual function came or went, from version 4 on.
        SEND_VF_ASSOCIATION = 128,
        /// Guest: moves its traffic to the virtual function or back. The answer is empty.
        SWITCH_DATA_PATH = 129,
        /// Deprecated.
        UPLINK_CONNECT_STATE = 130,
        /// Guest: an OID beside RNDIS, from version 5 on.
        OID_QUERY_EX = 131,
        /// Answer to [`OID_QUERY_EX`](Self::OID_QUERY_EX).
        OID_QUERY_EX_COMPLETE = 132,
        /// Guest: asks for sub-channels; the answer has the same number. From version 5 on.
        SUB_CHANNEL = 133,
        /// Host: which queue to send what on, from version 5 on.
        SEND_INDIRECTION_TABLE = 134,
        /// Packet direct, from version 6 on; no guest uses it.
        PACKET_DIRECT_API = 135,
        /// Packet direct, from version 6 on; no guest uses it.
        PACKET_DIRECT_POST_BATCH = 136,
    }
}

impl MessageType {
    /// Whether it belongs to the offloads of version 2 that no host serves any more (109 to 127 without
    /// [`SEND_NDIS_CONFIG`](Self::SEND_NDIS_CONFIG)).
    #[must_use]
    pub const fn is_dead(self) -> bool {
        matches!(self.0, 109..=124 | 126 | 127)
    }
}

vmbus_core::open_enum! {
    /// Result in an answer.
    Status: u32 {
        /// Not a result.
        NONE = 0,
        /// Done.
        SUCCESS = 1,
        /// Failed.
        FAIL = 2,
        /// The proposed version is too new.
        PROTOCOL_TOO_NEW = 3,
        /// The proposed version is too old.
        PROTOCOL_TOO_OLD = 4,
        /// An RNDIS message is malformed.
        INVALID_RNDIS_PACKET = 5,
        /// Try again later.
        BUSY = 6,
        /// The proposed version is not supported.
        PROTOCOL_UNSUPPORTED = 7,
    }
}

vmbus_core::open_enum! {
    /// What [`SEND_RNDIS_PACKET`](MessageType::SEND_RNDIS_PACKET) carries.
    ChannelType: u32 {
        /// Packets.
        DATA = 0,
        /// One control message.
        CONTROL = 1,
    }
}

vmbus_core::open_enum! {
    /// What [`SUB_CHANNEL`](MessageType::SUB_CHANNEL) asks for.
    SubChannelOperation: u32 {
        /// Nothing.
        NONE = 0,
        /// Further channels.
        ALLOCATE = 1,
    }
}

vmbus_core::open_enum! {
    /// Where a guest's traffic goes.
    DataPath: u32 {
        /// Through the synthetic adapter.
        SYNTHETIC = 0,
        /// Through a virtual function.
        VIRTUAL_FUNCTION = 1,
    }
}

bitflags::bitflags! {
    /// What a guest is capable of, in its configuration. Unknown bits are kept and mean nothing.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Capabilities: u64 {
        /// Virtual machine queues.
        const VMQ = 0x1;
        /// TCP chimney; obsolete.
        const CHIMNEY = 0x2;
        /// Virtual functions.
        const SR_IOV = 0x4;
        /// VLAN tags in per-packet information.
        const VLAN = 0x8;
        /// Correlation ids.
        const CORRELATION_ID = 0x10;
        /// Teaming; needed to be told of changes of the link's speed.
        const TEAMING = 0x20;
        /// Virtual subnet ids.
        const VIRTUAL_SUBNET_ID = 0x40;
        /// Receive segment coalescing.
        const RSC = 0x80;
        const _ = !0;
    }
}
