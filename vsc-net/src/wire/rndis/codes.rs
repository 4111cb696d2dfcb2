//! Message types, statuses and filters of RNDIS.

vmbus_core::open_enum! {
    /// What an RNDIS message is. The completion of a request has its number with the top bit set.
    MessageType: u32 {
        /// A frame.
        PACKET = 1,
        /// Guest: begins.
        INITIALIZE = 2,
        /// Guest: ends. No answer.
        HALT = 3,
        /// Guest: asks an OID.
        QUERY = 4,
        /// Guest: sets an OID.
        SET = 5,
        /// Guest: resets the adapter.
        RESET = 6,
        /// Host: something changed.
        INDICATE_STATUS = 7,
        /// Asks whether the peer is there.
        KEEPALIVE = 8,
        /// Answer to [`INITIALIZE`](Self::INITIALIZE).
        INITIALIZE_COMPLETE = 0x8000_0002,
        /// Answer to [`QUERY`](Self::QUERY).
        QUERY_COMPLETE = 0x8000_0004,
        /// Answer to [`SET`](Self::SET).
        SET_COMPLETE = 0x8000_0005,
        /// Answer to [`RESET`](Self::RESET).
        RESET_COMPLETE = 0x8000_0006,
        /// Answer to [`KEEPALIVE`](Self::KEEPALIVE).
        KEEPALIVE_COMPLETE = 0x8000_0008,
    }
}

vmbus_core::open_enum! {
    /// Result of a request, or what an indication is about.
    Status: u32 {
        /// Done.
        SUCCESS = 0,
        /// The answer follows later.
        PENDING = 0x0000_0103,
        /// The reply does not fit the buffer.
        BUFFER_OVERFLOW = 0x8000_0005,
        /// Failed without a better reason.
        FAILURE = 0xC000_0001,
        /// Out of resources.
        RESOURCES = 0xC000_009A,
        /// The OID is not known, or not for this.
        NOT_SUPPORTED = 0xC000_00BB,
        /// The version is not known.
        BAD_VERSION = 0xC001_0004,
        /// The multicast list is too long.
        MULTICAST_FULL = 0xC001_0009,
        /// The adapter is being reset.
        RESET_IN_PROGRESS = 0xC001_000D,
        /// A packet is malformed.
        INVALID_PACKET = 0xC001_000F,
        /// The adapter is not initialised.
        ADAPTER_NOT_READY = 0xC001_0011,
        /// The information is too short or too long.
        INVALID_LENGTH = 0xC001_0014,
        /// The information makes no sense.
        INVALID_DATA = 0xC001_0015,
        /// The buffer is too short.
        BUFFER_TOO_SHORT = 0xC001_0016,
        /// The OID is not valid.
        INVALID_OID = 0xC001_0017,
        /// The adapter has gone.
        ADAPTER_REMOVED = 0xC001_0018,
        /// Indication: the cable is plugged in.
        MEDIA_CONNECT = 0x4001_000B,
        /// Indication: the cable is unplugged.
        MEDIA_DISCONNECT = 0x4001_000C,
        /// Indication with a word: the link's speed in units of 100 bit/s.
        LINK_SPEED_CHANGE = 0x4001_0013,
        /// Indication with an NDIS link state.
        LINK_STATE = 0x4001_0017,
        /// Indication with a word: the network may be another one.
        NETWORK_CHANGE = 0x4001_0018,
        /// Indication with an NDIS offload structure: what is in force.
        TASK_OFFLOAD_CURRENT_CONFIG = 0x4002_0006,
    }
}

bitflags::bitflags! {
    /// Which frames the guest wants. 0, the initial value, is none. Unknown bits are kept and mean nothing.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct PacketFilter: u32 {
        /// To the adapter's own address.
        const DIRECTED = 0x1;
        /// To addresses of the multicast list.
        const MULTICAST = 0x2;
        /// To any multicast address.
        const ALL_MULTICAST = 0x4;
        /// To the broadcast address.
        const BROADCAST = 0x8;
        /// Everything.
        const PROMISCUOUS = 0x20;
        const _ = !0;
    }
}

vmbus_core::open_enum! {
    /// What an element of per-packet information is. The top bit is a namespace of the adapters' own.
    PerPacketInfoType: u32 {
        /// Checksum offload.
        CHECKSUM = 0,
        /// IPsec.
        IPSEC = 1,
        /// Large send offload.
        LARGE_SEND = 2,
        /// VLAN tag.
        VLAN = 6,
        /// Hash of the flow.
        HASH_VALUE = 8,
        /// What the hash was made of.
        HASH_INFO = 9,
        /// Part of a coalesced segment.
        SEGMENT = 0x8000_0001,
    }
}
