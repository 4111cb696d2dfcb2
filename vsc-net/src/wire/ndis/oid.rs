//! Object identifiers: the things that a guest may ask or set.

vmbus_core::open_enum! {
    /// Names something that may be asked or set.
    Oid: u32 {
        /// The OIDs that may be asked.
        GEN_SUPPORTED_LIST = 0x0001_0101,
        /// 0: ready.
        GEN_HARDWARE_STATUS = 0x0001_0102,
        /// 0: Ethernet.
        GEN_MEDIA_SUPPORTED = 0x0001_0103,
        /// 0: Ethernet.
        GEN_MEDIA_IN_USE = 0x0001_0104,
        /// Bytes of a frame that can be looked at before it is whole.
        GEN_MAXIMUM_LOOKAHEAD = 0x0001_0105,
        /// Bytes of the longest frame without its Ethernet header.
        GEN_MAXIMUM_FRAME_SIZE = 0x0001_0106,
        /// In units of 100 bit/s.
        GEN_LINK_SPEED = 0x0001_0107,
        /// Bytes.
        GEN_TRANSMIT_BUFFER_SPACE = 0x0001_0108,
        /// Bytes.
        GEN_RECEIVE_BUFFER_SPACE = 0x0001_0109,
        /// Bytes.
        GEN_TRANSMIT_BLOCK_SIZE = 0x0001_010A,
        /// Bytes.
        GEN_RECEIVE_BLOCK_SIZE = 0x0001_010B,
        /// Vendor part of the address range.
        GEN_VENDOR_ID = 0x0001_010C,
        /// Text, ASCII.
        GEN_VENDOR_DESCRIPTION = 0x0001_010D,
        /// Which frames are received.
        GEN_CURRENT_PACKET_FILTER = 0x0001_010E,
        /// Bytes of a frame to be looked at.
        GEN_CURRENT_LOOKAHEAD = 0x0001_010F,
        /// Version of NDIS that the adapter follows.
        GEN_DRIVER_VERSION = 0x0001_0110,
        /// Bytes of the longest frame.
        GEN_MAXIMUM_TOTAL_SIZE = 0x0001_0111,
        /// Options of protocols.
        GEN_PROTOCOL_OPTIONS = 0x0001_0112,
        /// Properties of the adapter.
        GEN_MAC_OPTIONS = 0x0001_0113,
        /// 0 connected, 1 disconnected.
        GEN_MEDIA_CONNECT_STATUS = 0x0001_0114,
        /// Packets that may be sent at once.
        GEN_MAXIMUM_SEND_PACKETS = 0x0001_0115,
        /// Version of the vendor's driver.
        GEN_VENDOR_DRIVER_VERSION = 0x0001_0116,
        /// Addresses of the network layer, for the adapter's information.
        GEN_NETWORK_LAYER_ADDRESSES = 0x0001_0118,
        /// What receive-side scaling is capable of.
        GEN_RECEIVE_SCALE_CAPABILITIES = 0x0001_0203,
        /// How receive-side scaling is to be.
        GEN_RECEIVE_SCALE_PARAMETERS = 0x0001_0204,
        /// Bit/s to and from the network.
        GEN_MAX_LINK_SPEED = 0x0001_0206,
        /// An NDIS link state.
        GEN_LINK_STATE = 0x0001_0207,
        /// How the link is to be.
        GEN_LINK_PARAMETERS = 0x0001_0208,
        /// Interrupt moderation.
        GEN_INTERRUPT_MODERATION = 0x0001_0209,
        /// The machine's name.
        GEN_MACHINE_NAME = 0x0001_021A,
        /// A named parameter: the address, or an offload.
        GEN_RNDIS_CONFIG_PARAMETER = 0x0001_021B,
        /// VLAN.
        GEN_VLAN_ID = 0x0001_021C,
        /// Frames sent.
        GEN_XMIT_OK = 0x0002_0101,
        /// Frames received.
        GEN_RCV_OK = 0x0002_0102,
        /// Frames not sent because of errors.
        GEN_XMIT_ERROR = 0x0002_0103,
        /// Frames not received because of errors.
        GEN_RCV_ERROR = 0x0002_0104,
        /// Frames not received for want of a buffer.
        GEN_RCV_NO_BUFFER = 0x0002_0105,
        /// All counters at once.
        GEN_STATISTICS = 0x0002_0106,
        /// Bytes.
        GEN_DIRECTED_BYTES_XMIT = 0x0002_0201,
        /// Frames.
        GEN_DIRECTED_FRAMES_XMIT = 0x0002_0202,
        /// Bytes.
        GEN_MULTICAST_BYTES_XMIT = 0x0002_0203,
        /// Frames.
        GEN_MULTICAST_FRAMES_XMIT = 0x0002_0204,
        /// Bytes.
        GEN_BROADCAST_BYTES_XMIT = 0x0002_0205,
        /// Frames.
        GEN_BROADCAST_FRAMES_XMIT = 0x0002_0206,
        /// Bytes.
        GEN_DIRECTED_BYTES_RCV = 0x0002_0207,
        /// Frames.
        GEN_DIRECTED_FRAMES_RCV = 0x0002_0208,
        /// Bytes.
        GEN_MULTICAST_BYTES_RCV = 0x0002_0209,
        /// Frames.
        GEN_MULTICAST_FRAMES_RCV = 0x0002_020A,
        /// Bytes.
        GEN_BROADCAST_BYTES_RCV = 0x0002_020B,
        /// Frames.
        GEN_BROADCAST_FRAMES_RCV = 0x0002_020C,
        /// Frames with a wrong checksum of the wire.
        GEN_RCV_CRC_ERROR = 0x0002_020D,
        /// Frames that wait.
        GEN_TRANSMIT_QUEUE_LENGTH = 0x0002_020E,
        /// Name for people, UTF-16.
        GEN_FRIENDLY_NAME = 0x0002_0216,
        /// Bytes received.
        GEN_BYTES_RCV = 0x0002_0219,
        /// Bytes sent.
        GEN_BYTES_XMIT = 0x0002_021A,
        /// Frames not received for any reason but errors.
        GEN_RCV_DISCARDS = 0x0002_021B,
        /// Frames not sent for any reason but errors.
        GEN_XMIT_DISCARDS = 0x0002_021C,
        /// The address that the adapter was made with.
        ETHERNET_PERMANENT_ADDRESS = 0x0101_0101,
        /// The address in use.
        ETHERNET_CURRENT_ADDRESS = 0x0101_0102,
        /// The multicast addresses received.
        ETHERNET_MULTICAST_LIST = 0x0101_0103,
        /// Most of them.
        ETHERNET_MAXIMUM_LIST_SIZE = 0x0101_0104,
        /// Properties.
        ETHERNET_MAC_OPTIONS = 0x0101_0105,
        /// Adds a multicast address.
        ETHERNET_ADD_MULTICAST_ADDRESS = 0x0101_0208,
        /// Takes a multicast address away.
        ETHERNET_DELETE_MULTICAST_ADDRESS = 0x0101_0209,
        /// Frames.
        ETHERNET_RCV_ERROR_ALIGNMENT = 0x0102_0101,
        /// Frames.
        ETHERNET_XMIT_ONE_COLLISION = 0x0102_0102,
        /// Frames.
        ETHERNET_XMIT_MORE_COLLISIONS = 0x0102_0103,
        /// Which encapsulation offloads are made in.
        OFFLOAD_ENCAPSULATION = 0x0101_010A,
        /// The offloads in force.
        TCP_OFFLOAD_CURRENT_CONFIG = 0xFC01_020B,
        /// Turns offloads on and off.
        TCP_OFFLOAD_PARAMETERS = 0xFC01_020C,
        /// The offloads that are possible.
        TCP_OFFLOAD_HARDWARE_CAPABILITIES = 0xFC01_020D,
    }
}
