//! Layouts of the replies.

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Codes of media events.
pub mod event_code {
    /// Nothing has happened.
    pub const NONE: u8 = 0;
    /// Somebody wants the medium out.
    pub const EJECT_REQUEST: u8 = 1;
    /// A medium has come.
    pub const NEW_MEDIUM: u8 = 2;
    /// The medium has gone.
    pub const REMOVAL: u8 = 3;
}

/// Profiles of drives and media.
pub mod profile {
    /// No medium.
    pub const NONE: u16 = 0;
    /// CD-ROM.
    pub const CD_ROM: u16 = 0x0008;
    /// DVD-ROM.
    pub const DVD_ROM: u16 = 0x0010;
}

/// Numbers of features.
pub mod feature {
    /// Profiles.
    pub const PROFILE_LIST: u16 = 0x0000;
    /// What every drive can.
    pub const CORE: u16 = 0x0001;
    /// Events about what the drive can.
    pub const MORPHING: u16 = 0x0002;
    /// The medium can be removed.
    pub const REMOVABLE_MEDIUM: u16 = 0x0003;
    /// Blocks can be read in any order.
    pub const RANDOM_READABLE: u16 = 0x0010;
    /// CDs can be read.
    pub const CD_READ: u16 = 0x001E;
    /// DVDs can be read.
    pub const DVD_READ: u16 = 0x001F;
    /// Power management.
    pub const POWER_MANAGEMENT: u16 = 0x0100;
    /// Commands time out.
    pub const TIMEOUT: u16 = 0x0105;
    /// Streaming commands.
    pub const REAL_TIME_STREAMING: u16 = 0x0107;
}

macro_rules! layouts {
    ($( $(#[$attribute:meta])* $name:ident = $size:literal { $( $(#[$doc:meta])* $field:ident: $kind:ty, )+ } )+) => {
        $(
            $(#[$attribute])*
            #[derive(
                Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
            )]
            #[repr(C)]
            pub struct $name {
                $( $(#[$doc])* pub $field: $kind, )+
            }

            const _: () = assert!(size_of::<$name>() == $size);
        )+
    };
}

layouts! {
    /// Head of READ TOC data.
    TocHeader = 4 {
        /// Bytes after this field.
        length: U16,
        /// First track or session.
        first: u8,
        /// Last track or session.
        last: u8,
    }
    /// A track in READ TOC data.
    TocEntry = 8 {
        /// 0.
        reserved0: u8,
        /// [`TocEntry::DATA_TRACK`].
        control: u8,
        /// Its number, [`TocEntry::LEAD_OUT`] for what follows the last one.
        track: u8,
        /// 0.
        reserved1: u8,
        /// First block, or 0, minute, second and frame.
        address: [u8; 4],
    }
    /// Head of GET CONFIGURATION data.
    ConfigurationHeader = 8 {
        /// Bytes after this field.
        length: U32,
        /// 0.
        reserved: [u8; 2],
        /// Profile of the medium.
        profile: U16,
    }
    /// Head of a feature.
    FeatureHeader = 4 {
        /// Its number.
        code: U16,
        /// Version, [`FeatureHeader::PERSISTENT`], [`FeatureHeader::CURRENT`].
        flags: u8,
        /// Bytes that follow.
        length: u8,
    }
    /// A profile in the list of profiles.
    ProfileDescriptor = 4 {
        /// Its number.
        profile: U16,
        /// [`FeatureHeader::CURRENT`].
        flags: u8,
        /// 0.
        reserved: u8,
    }
    /// Head of GET EVENT STATUS NOTIFICATION data.
    EventHeader = 4 {
        /// Bytes after this field.
        length: U16,
        /// Class of the event that follows, and [`EventHeader::NONE_AVAILABLE`].
        class: u8,
        /// A bit for each class that the drive has.
        supported: u8,
    }
    /// A media event.
    MediaEvent = 4 {
        /// One of [`event_code`].
        code: u8,
        /// [`MediaEvent::TRAY_OPEN`], [`MediaEvent::MEDIUM_PRESENT`].
        status: u8,
        /// First slot concerned; 0.
        start_slot: u8,
        /// Last slot concerned; 0.
        end_slot: u8,
    }
    /// READ DISC INFORMATION data.
    DiscInformation = 34 {
        /// Bytes after this field: 32.
        length: U16,
        /// [`DiscInformation::FINALIZED`].
        status: u8,
        /// First track on the disc.
        first_track: u8,
        /// Sessions, low byte.
        sessions: u8,
        /// First track of the last session, low byte.
        last_session_first_track: u8,
        /// Last track of the last session, low byte.
        last_session_last_track: u8,
        /// [`DiscInformation::UNRESTRICTED_USE`].
        flags: u8,
        /// Type of the disc: 0.
        disc_type: u8,
        /// High bytes of the three numbers above.
        high_bytes: [u8; 3],
        /// Identification: 0.
        identification: U32,
        /// Where a further session would start; all ones if none can.
        next_session: U32,
        /// Where the disc would end then; all ones if it can't.
        next_lead_out: U32,
        /// 0.
        bar_code: [u8; 8],
        /// 0.
        application: u8,
        /// 0.
        power_calibrations: u8,
    }
    /// READ TRACK INFORMATION data.
    TrackInformation = 48 {
        /// Bytes after this field: 46.
        length: U16,
        /// The track, low byte.
        track: u8,
        /// Its session, low byte.
        session: u8,
        /// 0.
        reserved0: u8,
        /// [`TrackInformation::DATA_TRACK`].
        track_mode: u8,
        /// [`TrackInformation::DATA_MODE_1`].
        data_mode: u8,
        /// Nothing can be written: 0.
        flags: u8,
        /// First block.
        start: U32,
        /// 0.
        next_writable: U32,
        /// 0.
        free_blocks: U32,
        /// 0.
        packet_size: U32,
        /// Blocks.
        size: U32,
        /// 0.
        last_recorded: U32,
        /// High bytes of track and session.
        high_bytes: [u8; 2],
        /// 0.
        rest: [u8; 14],
    }
    /// Head of GET PERFORMANCE data.
    PerformanceHeader = 8 {
        /// Bytes after this field.
        length: U32,
        /// 0: reading, nominal.
        flags: u8,
        /// 0.
        reserved: [u8; 3],
    }
    /// Nominal performance of a range of blocks.
    PerformanceDescriptor = 16 {
        /// First block.
        start: U32,
        /// Speed there in 1000 bytes a second.
        start_speed: U32,
        /// Last block.
        end: U32,
        /// Speed there in 1000 bytes a second.
        end_speed: U32,
    }
    /// Head of READ DVD STRUCTURE data.
    DvdStructureHeader = 4 {
        /// Bytes after this field.
        length: U16,
        /// 0.
        reserved: [u8; 2],
    }
    /// Physical format of a DVD, as far as it isn't 0.
    PhysicalFormat = 16 {
        /// Book type and version: 1, DVD-ROM.
        book: u8,
        /// Size 120 mm; [`PhysicalFormat::NO_RATE`].
        size_and_rate: u8,
        /// One layer, embossed.
        layers: u8,
        /// 0.
        density: u8,
        /// Where the data starts: [`PhysicalFormat::FIRST_SECTOR`].
        first_sector: U32,
        /// Where it ends.
        last_sector: U32,
        /// 0: there is one layer.
        layer_end: U32,
    }
    /// MECHANISM STATUS data.
    MechanismStatus = 8 {
        /// 0: no fault.
        fault: u8,
        /// [`MechanismStatus::DOOR_OPEN`].
        flags: u8,
        /// 0.
        position: [u8; 3],
        /// Slots of a changer: 0.
        slots: u8,
        /// 0.
        table_length: U16,
    }
    /// Mode page 0x2A: what a drive can.
    CapabilitiesPage = 22 {
        /// 0x2A.
        code: u8,
        /// 20.
        length: u8,
        /// Media that can be read.
        reads: u8,
        /// Media that can be written: none.
        writes: u8,
        /// Sectors that can be read.
        sectors: u8,
        /// Audio: none.
        audio: u8,
        /// Lock, eject and loading mechanism.
        mechanism: u8,
        /// 0.
        channels: u8,
        /// Highest speed in 1000 bytes a second.
        max_speed: U16,
        /// Levels of volume.
        volume_levels: U16,
        /// Buffer in KiB.
        buffer: U16,
        /// Speed now.
        speed: U16,
        /// 0.
        rest: [u8; 6],
    }
}

impl TocEntry {
    /// Control and address bits of a data track.
    pub const DATA_TRACK: u8 = 0x14;
    /// Number that stands for what follows the last track.
    pub const LEAD_OUT: u8 = 0xAA;
}

impl FeatureHeader {
    /// Flag: in force now.
    pub const CURRENT: u8 = 0x01;
    /// Flag: always in force.
    pub const PERSISTENT: u8 = 0x02;
    /// Bits below the version.
    pub const VERSION_SHIFT: u32 = 2;
}

impl EventHeader {
    /// Flag: no event of the classes asked for.
    pub const NONE_AVAILABLE: u8 = 0x80;
    /// Class of media events.
    pub const MEDIA: u8 = 4;
    /// Bit of that class.
    pub const MEDIA_BIT: u8 = 1 << Self::MEDIA;
}

impl MediaEvent {
    /// Status: the tray is open.
    pub const TRAY_OPEN: u8 = 0x01;
    /// Status: there is a medium.
    pub const MEDIUM_PRESENT: u8 = 0x02;
}

impl DiscInformation {
    /// Status: the disc and its last session are complete.
    pub const FINALIZED: u8 = 0x0E;
    /// Flag: anybody may use it.
    pub const UNRESTRICTED_USE: u8 = 0x20;
}

impl TrackInformation {
    /// Track mode: data, complete.
    pub const DATA_TRACK: u8 = 4;
    /// Data mode 1.
    pub const DATA_MODE_1: u8 = 1;
}

impl PhysicalFormat {
    /// Part version of book type DVD-ROM.
    pub const DVD_ROM: u8 = 0x01;
    /// Maximum rate: not stated.
    pub const NO_RATE: u8 = 0x0F;
    /// One embossed layer.
    pub const ONE_LAYER: u8 = 0x01;
    /// Sector number of a DVD's first block.
    pub const FIRST_SECTOR: u32 = 0x0003_0000;
}

impl MechanismStatus {
    /// Flag: the door is open.
    pub const DOOR_OPEN: u8 = 0x10;
}

impl CapabilitiesPage {
    /// Reads: CD-R.
    pub const READS_CD_R: u8 = 0x01;
    /// Reads: CD-RW.
    pub const READS_CD_RW: u8 = 0x02;
    /// Reads: DVD-ROM.
    pub const READS_DVD_ROM: u8 = 0x08;
    /// Mechanism: the door can be locked.
    pub const LOCKS: u8 = 0x01;
    /// Mechanism: the door is locked now.
    pub const LOCKED: u8 = 0x02;
    /// Mechanism: the medium can be ejected.
    pub const EJECTS: u8 = 0x08;
    /// Mechanism: a tray.
    pub const TRAY: u8 = 0x20;
}

/// An address as 0, minute, second and frame; beyond what those can say, all ones.
#[must_use]
pub const fn msf(lba: u32) -> [u8; 4] {
    /// Frames before block 0.
    const LEAD_IN: u64 = 150;
    let frames = lba as u64 + LEAD_IN;
    let minute = frames / (60 * 75);
    if minute > 0xFF {
        return [0, 0xFF, 59, 74];
    }
    // Each below 256.
    [
        0,
        minute as u8,
        (frames / 75 % 60) as u8,
        (frames % 75) as u8,
    ]
}
