//! Operations, versions, statuses and flags of VSTOR.

use core::fmt;

use vmbus_core::open_enum;

open_enum! {
    /// What a VSTOR message asks for or answers.
    Operation: u32 {
        /// The host's answer to every guest message.
        COMPLETE_IO = 1,
        /// Unsolicited: a device went away; the guest scans again.
        REMOVE_DEVICE = 2,
        /// Execute one SCSI command.
        EXECUTE_SRB = 3,
        /// Reset one logical unit.
        RESET_LUN = 4,
        /// Reset the whole adapter.
        RESET_ADAPTER = 5,
        /// Reset one bus.
        RESET_BUS = 6,
        /// First message on a controller's primary channel.
        BEGIN_INIT = 7,
        /// Last message of the initialisation; commands may follow.
        END_INIT = 8,
        /// Propose one protocol version.
        QUERY_PROTOCOL_VERSION = 9,
        /// Ask for the controller's properties.
        QUERY_PROPERTIES = 10,
        /// Unsolicited: the set of devices changed; the guest scans again.
        ENUMERATE_BUS = 11,
        /// Ask for the world-wide names of a Fibre Channel adapter.
        FCHBA_DATA = 12,
        /// Ask for sub-channels.
        CREATE_SUB_CHANNELS = 13,
        /// Unused; ignored on receipt.
        EVENT_NOTIFICATION = 14,
    }
}

bitflags::bitflags! {
    /// Flags in a message's header.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct PacketFlags: u32 {
        /// The sender wants a completion; on everything that a guest sends.
        const REQUEST_COMPLETION = 0x1;
        const _ = !0;
    }
}

open_enum! {
    /// Result in a message's header, an NTSTATUS.
    NtStatus: u32 {
        /// Done.
        SUCCESS = 0,
        /// The reply does not fit the buffer.
        BUFFER_OVERFLOW = 0x8000_0005,
        /// Temporarily out of resources.
        DEVICE_BUSY = 0x8000_0011,
        /// Failed without a better reason.
        UNSUCCESSFUL = 0xC000_0001,
        /// A field of the message is wrong.
        INVALID_PARAMETER = 0xC000_000D,
        /// The operation is unknown.
        INVALID_DEVICE_REQUEST = 0xC000_0010,
        /// The proposed version is refused.
        REVISION_MISMATCH = 0xC000_0059,
        /// Selection timed out.
        DEVICE_NOT_CONNECTED = 0xC000_009D,
        /// The command timed out.
        IO_TIMEOUT = 0xC000_00B5,
        /// No such device.
        DEVICE_DOES_NOT_EXIST = 0xC000_00C0,
        /// The command was aborted.
        CANCELLED = 0xC000_0120,
        /// The message isn't legal in this state.
        INVALID_DEVICE_STATE = 0xC000_0184,
        /// Any other failure of a command.
        IO_DEVICE_ERROR = 0xC000_0185,
    }
}

/// Status byte of a SCSI request block: a code in the low six bits and two flags.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct SrbStatus(pub u8);

macro_rules! srb_status_codes {
    ($( $(#[$attribute:meta])* $name:ident = $value:literal, )+) => {
        impl SrbStatus {
            $( $(#[$attribute])* pub const $name: Self = Self($value); )+

            /// Name of the code, the flags aside; `None` for a code without one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 & Self::CODE_MASK {
                    $( $value => Some(stringify!($name)), )+
                    _ => None,
                }
            }
        }
    };
}

srb_status_codes! {
    /// Not finished; what a request carries.
    PENDING = 0x00,
    /// Done.
    SUCCESS = 0x01,
    /// Aborted.
    ABORTED = 0x02,
    /// Could not be aborted.
    ABORT_FAILED = 0x03,
    /// Failed; the SCSI status and sense data tell why.
    ERROR = 0x04,
    /// Out of resources for the moment.
    BUSY = 0x05,
    /// The request makes no sense.
    INVALID_REQUEST = 0x06,
    /// No such path.
    INVALID_PATH_ID = 0x07,
    /// No such device.
    NO_DEVICE = 0x08,
    /// Timed out.
    TIMEOUT = 0x09,
    /// The device did not answer its selection.
    SELECTION_TIMEOUT = 0x0A,
    /// The command timed out.
    COMMAND_TIMEOUT = 0x0B,
    /// A message was rejected.
    MESSAGE_REJECTED = 0x0D,
    /// The bus was reset.
    BUS_RESET = 0x0E,
    /// Parity error.
    PARITY_ERROR = 0x0F,
    /// Sense data could not be fetched.
    REQUEST_SENSE_FAILED = 0x10,
    /// No adapter.
    NO_HBA = 0x11,
    /// More data than the buffer holds.
    DATA_OVERRUN = 0x12,
    /// The bus became free.
    UNEXPECTED_BUS_FREE = 0x13,
    /// Wrong bus phase.
    PHASE_SEQUENCE_FAILURE = 0x14,
    /// The request block's length is wrong.
    BAD_SRB_BLOCK_LENGTH = 0x15,
    /// Flushed from a queue.
    REQUEST_FLUSHED = 0x16,
    /// No such logical unit.
    INVALID_LUN = 0x20,
    /// No such target.
    INVALID_TARGET_ID = 0x21,
    /// Unknown function.
    BAD_FUNCTION = 0x22,
    /// Recovered from an error.
    ERROR_RECOVERY = 0x23,
    /// The device is not powered.
    NOT_POWERED = 0x24,
    /// The link is down.
    LINK_DOWN = 0x25,
    /// The host failed internally.
    INTERNAL_ERROR = 0x30,
}

impl SrbStatus {
    /// Bits that hold the code.
    pub const CODE_MASK: u8 = 0x3F;
    /// Flag: the sense data is valid.
    pub const AUTOSENSE_VALID: u8 = 0x80;
    /// Flag: the queue is frozen. Hosts never set it.
    pub const QUEUE_FROZEN: u8 = 0x40;

    /// The code without the flags.
    #[must_use]
    pub const fn code(self) -> Self {
        Self(self.0 & Self::CODE_MASK)
    }

    /// Whether sense data accompanies the status.
    #[must_use]
    pub const fn has_autosense(self) -> bool {
        self.0 & Self::AUTOSENSE_VALID != 0
    }

    /// The same code, marked as accompanied by sense data.
    #[must_use]
    pub const fn with_autosense(self) -> Self {
        Self(self.0 | Self::AUTOSENSE_VALID)
    }
}

impl fmt::Debug for SrbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name)?,
            None => write!(f, "SrbStatus({:#04x})", self.code().0)?,
        }
        if self.has_autosense() {
            f.write_str("+AUTOSENSE_VALID")?;
        }
        if self.0 & Self::QUEUE_FROZEN != 0 {
            f.write_str("+QUEUE_FROZEN")?;
        }
        Ok(())
    }
}

bitflags::bitflags! {
    /// Flags of a SCSI request block. A host requires none of them.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct SrbFlags: u32 {
        /// The request is tagged.
        const QUEUE_ACTION_ENABLE = 0x0000_0002;
        /// No disconnection during the command.
        const DISABLE_DISCONNECT = 0x0000_0004;
        /// No synchronous transfer negotiation.
        const DISABLE_SYNCH_TRANSFER = 0x0000_0008;
        /// Bypass a frozen queue.
        const BYPASS_FROZEN_QUEUE = 0x0000_0010;
        /// No sense data wanted.
        const DISABLE_AUTOSENSE = 0x0000_0020;
        /// Data moves from the device to the guest.
        const DATA_IN = 0x0000_0040;
        /// Data moves from the guest to the device.
        const DATA_OUT = 0x0000_0080;
        /// Do not freeze the queue on an error.
        const NO_QUEUE_FREEZE = 0x0000_0100;
        /// The adapter may cache.
        const ADAPTER_CACHE_ENABLE = 0x0000_0200;
        /// The sense buffer is to be freed.
        const FREE_SENSE_BUFFER = 0x0000_0400;
        /// Part of a power-down.
        const D3_PROCESSING = 0x0000_0800;
        /// With UNMAP: act on whole blocks only.
        const MS_SPECIAL_BEHAVIOR = 0x0000_8000;
        /// The request is active.
        const IS_ACTIVE = 0x0001_0000;
        /// Allocated from a zone.
        const ALLOCATED_FROM_ZONE = 0x0002_0000;
        /// The scatter list comes from a pool.
        const SGLIST_FROM_POOL = 0x0004_0000;
        /// Bypass a locked queue.
        const BYPASS_LOCKED_QUEUE = 0x0008_0000;
        /// The command doesn't keep the device awake.
        const NO_KEEP_AWAKE = 0x0010_0000;
        /// The port driver allocates the sense buffer.
        const PORT_DRIVER_ALLOCSENSE = 0x0020_0000;
        /// The sense data names a port.
        const PORT_DRIVER_SENSEHASPORT = 0x0040_0000;
        /// Do not start the next packet.
        const DONT_START_NEXT_PACKET = 0x0080_0000;
        const _ = !0;
    }
}

/// A version of the storage protocol that this crate speaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Version {
    /// Windows Server 2008 (2.0).
    Win6,
    /// Windows Server 2008 R2 (4.2): adds [`Operation::ENUMERATE_BUS`].
    Win7,
    /// Windows Server 2012 (5.1): adds the longer request and sub-channels.
    Win8,
    /// Windows Server 2012 R2 (6.0).
    Win8_1,
    /// Windows Server 2016 (6.2).
    Win10,
}

impl Version {
    /// All versions in the order in which a guest proposes them.
    pub const ALL_NEWEST_FIRST: [Self; 5] = [
        Self::Win10,
        Self::Win8_1,
        Self::Win8,
        Self::Win7,
        Self::Win6,
    ];

    /// The version word on the wire.
    #[must_use]
    pub const fn wire(self) -> u16 {
        match self {
            Self::Win6 => 0x0200,
            Self::Win7 => 0x0402,
            Self::Win8 => 0x0501,
            Self::Win8_1 => 0x0600,
            Self::Win10 => 0x0602,
        }
    }

    /// Whether requests carry the Windows 8 extension, so that packets are 64 bytes long.
    #[must_use]
    pub const fn has_extension(self) -> bool {
        matches!(self, Self::Win8 | Self::Win8_1 | Self::Win10)
    }

    /// Whether the host may announce changes with [`Operation::ENUMERATE_BUS`].
    #[must_use]
    pub const fn has_enumerate_bus(self) -> bool {
        !matches!(self, Self::Win6)
    }

    /// Bytes of a full packet: 48 or 64.
    #[must_use]
    pub const fn packet_size(self) -> usize {
        if self.has_extension() {
            super::MAX_PACKET_SIZE
        } else {
            super::SHORT_PACKET_SIZE
        }
    }

    /// Bytes of a request block: 36 or 52.
    #[must_use]
    pub const fn srb_size(self) -> usize {
        if self.has_extension() {
            super::MAX_PAYLOAD_SIZE
        } else {
            super::SHORT_PAYLOAD_SIZE
        }
    }

    /// Bytes of sense data that a request has room for: 18 or 20.
    #[must_use]
    pub const fn sense_size(self) -> usize {
        if self.has_extension() {
            super::SENSE_SIZE
        } else {
            super::SHORT_SENSE_SIZE
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.wire() >> 8, self.wire() & 0xFF)
    }
}

/// The version word names no version that this crate speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownVersion(pub u16);

impl fmt::Display for UnknownVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown storage protocol version {}.{} ({:#06x})",
            self.0 >> 8,
            self.0 & 0xFF,
            self.0
        )
    }
}

impl core::error::Error for UnknownVersion {}

impl TryFrom<u16> for Version {
    type Error = UnknownVersion;

    fn try_from(word: u16) -> Result<Self, UnknownVersion> {
        Self::ALL_NEWEST_FIRST
            .into_iter()
            .find(|version| version.wire() == word)
            .ok_or(UnknownVersion(word))
    }
}
