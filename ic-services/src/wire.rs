//! What an integration service's message looks like, for both ends.
//!
//! Each VMBus packet carries a pipe header ([`vmbus_core::pipe`]), the 20-byte [`Header`] and a body.

use core::fmt;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the pipe header in front of every message.
pub const PIPE_HEADER_LENGTH: usize = 8;
/// Bytes of the message header.
pub const HEADER_LENGTH: usize = 20;
/// Where the body begins in a packet's payload.
pub const BODY_OFFSET: usize = PIPE_HEADER_LENGTH + HEADER_LENGTH;
/// Largest payload that any service sends, in bytes.
pub const MAX_PAYLOAD: usize = 13_312;
/// Most versions of each kind that a negotiation may list.
pub const MAX_VERSIONS: u16 = 100;

/// A version of the framework or of a service.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct Version {
    major: U16,
    minor: U16,
}

impl Version {
    /// `major.minor`.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self {
            major: U16::new(major),
            minor: U16::new(minor),
        }
    }

    /// The part before the point.
    #[must_use]
    pub const fn major(self) -> u16 {
        self.major.get()
    }

    /// The part after the point.
    #[must_use]
    pub const fn minor(self) -> u16 {
        self.minor.get()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which service a message belongs to.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct MessageType(pub U16);

impl MessageType {
    /// Version negotiation, of every service.
    pub const NEGOTIATE: Self = Self(U16::new(0));
    /// Heartbeat.
    pub const HEARTBEAT: Self = Self(U16::new(1));
    /// Key-value pairs.
    pub const KVP: Self = Self(U16::new(2));
    /// Shutdown, restart, hibernate.
    pub const SHUTDOWN: Self = Self(U16::new(3));
    /// Time synchronisation.
    pub const TIME_SYNC: Self = Self(U16::new(4));
    /// Volume snapshots.
    pub const VSS: Self = Self(U16::new(5));
    /// Remote desktop.
    pub const REMOTE_DESKTOP: Self = Self(U16::new(6));
    /// File copy.
    pub const FILE_COPY: Self = Self(U16::new(7));
}

/// The outcome that a reply carries: a Windows HRESULT.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct Status(pub U32);

impl Status {
    /// Done.
    pub const OK: Self = Self(U32::new(0));
    /// Failed, no reason given.
    pub const FAIL: Self = Self(U32::new(0x8000_4005));
    /// The request is not supported.
    pub const NOT_SUPPORTED: Self = Self(U32::new(0x8007_0032));
    /// The file exists already.
    pub const ALREADY_EXISTS: Self = Self(U32::new(0x8007_0050));
    /// An argument is invalid.
    pub const INVALID_ARGUMENT: Self = Self(U32::new(0x8007_0057));
    /// The disk is full.
    pub const DISK_FULL: Self = Self(U32::new(0x8007_0070));
    /// No such key, or none after the last.
    pub const NO_MORE_ITEMS: Self = Self(U32::new(0x8007_0103));
    /// The machine is locked.
    pub const MACHINE_LOCKED: Self = Self(U32::new(0x8007_04F7));
    /// The device is not connected.
    pub const NOT_CONNECTED: Self = Self(U32::new(0x8007_048F));
    /// No such network adapter.
    pub const ADAPTER_NOT_FOUND: Self = Self(U32::new(0x8004_1002));
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OK => f.write_str("OK"),
            Self::FAIL => f.write_str("FAIL"),
            Self::NOT_SUPPORTED => f.write_str("NOT_SUPPORTED"),
            Self::ALREADY_EXISTS => f.write_str("ALREADY_EXISTS"),
            Self::INVALID_ARGUMENT => f.write_str("INVALID_ARGUMENT"),
            Self::DISK_FULL => f.write_str("DISK_FULL"),
            Self::NO_MORE_ITEMS => f.write_str("NO_MORE_ITEMS"),
            Self::MACHINE_LOCKED => f.write_str("MACHINE_LOCKED"),
            Self::NOT_CONNECTED => f.write_str("NOT_CONNECTED"),
            Self::ADAPTER_NOT_FOUND => f.write_str("ADAPTER_NOT_FOUND"),
            Self(code) => write!(f, "{:#010x}", code.get()),
        }
    }
}

bitflags::bitflags! {
    /// What a message is in its transaction.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Flags: u8 {
        /// A reply is expected, or this is one.
        const TRANSACTION = 1;
        /// From host to guest.
        const REQUEST = 2;
        /// From guest to host.
        const RESPONSE = 4;
    }
}

/// The header of every message, after the pipe header.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Header {
    /// Version of the framing: 0.0 while negotiating.
    pub framework: Version,
    /// The service.
    pub message_type: MessageType,
    /// Version of the service: 0.0 while negotiating.
    pub version: Version,
    /// Bytes of the body.
    pub size: U16,
    /// Outcome; zero in requests.
    pub status: Status,
    /// Echoed in the reply.
    pub transaction_id: u8,
    /// [`Flags`].
    pub flags: u8,
    /// Zero.
    pub reserved: U16,
}

const _: () = assert!(size_of::<Header>() == HEADER_LENGTH);

/// The fixed part of a negotiation's body; versions follow, those of the framework first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Negotiate {
    /// Framework versions that follow.
    pub framework_count: U16,
    /// Service versions that follow after those.
    pub version_count: U16,
    /// Zero.
    pub reserved: U32,
}

const _: () = assert!(size_of::<Negotiate>() == 8);

/// The body of a heartbeat. Bytes after it are echoed.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct HeartbeatBody {
    /// The guest answers with one more.
    pub sequence: U64,
    /// [`ApplicationState`] of the guest, in the answer.
    pub application_state: U32,
    /// Zero.
    pub reserved: U32,
}

const _: () = assert!(size_of::<HeartbeatBody>() == 16);

/// How the guest says it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ApplicationState(pub u32);

impl ApplicationState {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self(0);
    /// Working.
    pub const HEALTHY: Self = Self(1);
    /// In trouble: a panic is being handled.
    pub const CRITICAL: Self = Self(2);
    /// Stopped on purpose.
    pub const STOPPED: Self = Self(3);
}

/// The fixed part of a shutdown request; 2048 bytes of display text follow.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct ShutdownBody {
    /// 0x80000000 is "planned".
    pub reason: U32,
    /// Seconds that the guest has.
    pub timeout: U32,
    /// [`ShutdownFlags`].
    pub flags: U32,
}

const _: () = assert!(size_of::<ShutdownBody>() == 12);

/// Bytes of display text after a [`ShutdownBody`].
pub const SHUTDOWN_TEXT_LENGTH: usize = 2048;

bitflags::bitflags! {
    /// What a shutdown request asks for; without a bit, to power off.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct ShutdownFlags: u32 {
        /// Don't wait for applications.
        const FORCE = 1;
        /// Restart instead.
        const RESTART = 2;
        /// Hibernate instead.
        const HIBERNATE = 4;
    }
}
