//! What the drive says about its medium and itself (MMC-6).

use vsc_storage::scsi::optical::{
    ConfigurationHeader, DiscInformation, DvdStructureHeader, EventHeader, FeatureHeader,
    MechanismStatus, PerformanceDescriptor, PerformanceHeader, PhysicalFormat, ProfileDescriptor,
    TocEntry, TocHeader, TrackInformation, feature, msf, profile,
};
use zerocopy::{FromZeros, IntoBytes};

use super::OpticalDrive;
use super::mode::SPEED;
use crate::disk::ISO_BLOCK_SIZE;
use crate::vsp::scsi::{DataBuffer, Outcome};

/// Blocks that are read from a DVD at a time.
const READ_UNIT: u16 = 16;
/// Bytes of SET STREAMING's parameter list.
const STREAMING_LIST: u16 = 28;
/// Bytes of a structure on a DVD.
const DVD_STRUCTURE: usize = 2048;

/// A reply, or how the command fails.
type Reply = Result<Outcome, Outcome>;

impl OpticalDrive {
    pub(super) fn read_toc(
        &self,
        in_minutes: bool,
        format: u8,
        track: u8,
        allocation_length: u16,
        data: &DataBuffer<'_>,
    ) -> Reply {
        let medium = self.bay.ready()?;
        let entry = |track, lba: u32| TocEntry {
            reserved0: 0,
            control: TocEntry::DATA_TRACK,
            track,
            reserved1: 0,
            address: if in_minutes {
                msf(lba)
            } else {
                lba.to_be_bytes()
            },
        };
        let entries = match (format, track) {
            (0, 0 | 1) => vec![entry(1, 0), entry(TocEntry::LEAD_OUT, medium.blocks)],
            (0, TocEntry::LEAD_OUT) => vec![entry(TocEntry::LEAD_OUT, medium.blocks)],
            // The first track of the last session.
            (1, _) => vec![entry(1, 0)],
            _ => return Err(Outcome::BAD_FIELD),
        };
        let header = TocHeader {
            // Two entries at most.
            length: ((size_of::<TocHeader>() - 2 + entries.as_bytes().len()) as u16).into(),
            first: 1,
            last: 1,
        };
        let reply = [header.as_bytes(), entries.as_bytes()].concat();
        Ok(data.reply(&reply, allocation_length.into()))
    }

    pub(super) fn get_configuration(
        &self,
        request: u8,
        first: u16,
        allocation_length: u16,
        data: &DataBuffer<'_>,
    ) -> Reply {
        const CURRENT: u8 = FeatureHeader::CURRENT;
        const ALWAYS: u8 = FeatureHeader::CURRENT | FeatureHeader::PERSISTENT;
        let has_medium = self.bay.ready().is_ok();
        let with_medium = if has_medium { CURRENT } else { 0 };
        let version = |version: u8| version << FeatureHeader::VERSION_SHIFT;
        let profiles = [
            ProfileDescriptor {
                profile: profile::DVD_ROM.into(),
                flags: with_medium,
                reserved: 0,
            },
            ProfileDescriptor {
                profile: profile::CD_ROM.into(),
                flags: 0,
                reserved: 0,
            },
        ];
        let block_size = ISO_BLOCK_SIZE.to_be_bytes();
        let unit = READ_UNIT.to_be_bytes();
        // Blocks of this size in units of so many; the error recovery page is there.
        let readable = [
            block_size[0],
            block_size[1],
            block_size[2],
            block_size[3],
            unit[0],
            unit[1],
            1,
            0,
        ];
        // Number, flags, and what follows: the interface is SCSI; a tray that loads, ejects and locks.
        let features: [(u16, u8, &[u8]); 10] = [
            (feature::PROFILE_LIST, ALWAYS, profiles.as_bytes()),
            (
                feature::CORE,
                version(2) | ALWAYS,
                &[0, 0, 0, 1, 0, 0, 0, 0],
            ),
            (feature::MORPHING, version(1) | ALWAYS, &[0; 4]),
            (feature::REMOVABLE_MEDIUM, ALWAYS, &[0x39, 0, 0, 0]),
            (feature::RANDOM_READABLE, with_medium, &readable),
            (feature::CD_READ, version(2), &[0; 4]),
            (feature::DVD_READ, version(1) | with_medium, &[0; 4]),
            (feature::POWER_MANAGEMENT, ALWAYS, &[]),
            (feature::TIMEOUT, ALWAYS, &[]),
            (feature::REAL_TIME_STREAMING, with_medium, &[0; 4]),
        ];
        let wanted = |code: u16, flags: u8| match request {
            0 => Ok(code >= first),
            1 => Ok(code >= first && flags & CURRENT != 0),
            2 => Ok(code == first),
            _ => Err(Outcome::BAD_FIELD),
        };
        let mut list = Vec::new();
        for (code, flags, body) in features {
            if wanted(code, flags)? {
                let header = FeatureHeader {
                    code: code.into(),
                    flags,
                    // At most 8 bytes.
                    length: body.len() as u8,
                };
                list.extend_from_slice(header.as_bytes());
                list.extend_from_slice(body);
            }
        }
        let header = ConfigurationHeader {
            length: ((size_of::<ConfigurationHeader>() - 4 + list.len()) as u32).into(),
            reserved: [0; 2],
            profile: if has_medium {
                profile::DVD_ROM
            } else {
                profile::NONE
            }
            .into(),
        };
        let reply = [header.as_bytes(), &list].concat();
        Ok(data.reply(&reply, allocation_length.into()))
    }

    pub(super) fn get_event_status(
        &self,
        polled: bool,
        classes: u8,
        allocation_length: u16,
        data: &DataBuffer<'_>,
    ) -> Reply {
        if !polled {
            return Err(Outcome::BAD_FIELD);
        }
        if classes & EventHeader::MEDIA_BIT == 0 {
            let none = EventHeader {
                length: 2.into(),
                class: EventHeader::NONE_AVAILABLE,
                supported: EventHeader::MEDIA_BIT,
            };
            return Ok(data.reply(none.as_bytes(), allocation_length.into()));
        }
        let header = EventHeader {
            length: 6.into(),
            class: EventHeader::MEDIA,
            supported: EventHeader::MEDIA_BIT,
        };
        // An event that is not read whole is told again.
        let room = u32::from(allocation_length).min(data.length());
        let event = self.bay.take_event(room >= 8);
        let reply = [header.as_bytes(), event.as_bytes()].concat();
        Ok(data.reply(&reply, allocation_length.into()))
    }

    pub(super) fn read_disc_information(
        &self,
        data_type: u8,
        allocation_length: u16,
        data: &DataBuffer<'_>,
    ) -> Reply {
        self.bay.ready()?;
        if data_type != 0 {
            return Err(Outcome::BAD_FIELD);
        }
        let mut reply = DiscInformation::new_zeroed();
        reply.length = ((size_of::<DiscInformation>() - 2) as u16).into();
        reply.status = DiscInformation::FINALIZED;
        reply.first_track = 1;
        reply.sessions = 1;
        reply.last_session_first_track = 1;
        reply.last_session_last_track = 1;
        reply.flags = DiscInformation::UNRESTRICTED_USE;
        reply.next_session = u32::MAX.into();
        reply.next_lead_out = u32::MAX.into();
        Ok(data.reply(reply.as_bytes(), allocation_length.into()))
    }

    pub(super) fn read_track_information(
        &self,
        address_type: u8,
        address: u32,
        allocation_length: u16,
        data: &DataBuffer<'_>,
    ) -> Reply {
        let medium = self.bay.ready()?;
        match (address_type, address) {
            (0, lba) if lba >= medium.blocks => return Err(Outcome::BAD_LBA),
            // There is one track, in one session.
            (0, _) | (1 | 2, 1) => {}
            _ => return Err(Outcome::BAD_FIELD),
        }
        let mut reply = TrackInformation::new_zeroed();
        reply.length = ((size_of::<TrackInformation>() - 2) as u16).into();
        reply.track = 1;
        reply.session = 1;
        reply.track_mode = TrackInformation::DATA_TRACK;
        reply.data_mode = TrackInformation::DATA_MODE_1;
        reply.size = medium.blocks.into();
        Ok(data.reply(reply.as_bytes(), allocation_length.into()))
    }

    pub(super) fn get_performance(
        &self,
        data_type: u8,
        descriptors: u16,
        data: &DataBuffer<'_>,
    ) -> Reply {
        let medium = self.bay.ready()?;
        if data_type != 0 {
            return Err(Outcome::BAD_FIELD);
        }
        let header = PerformanceHeader {
            length: ((size_of::<PerformanceHeader>() - 4 + size_of::<PerformanceDescriptor>())
                as u32)
                .into(),
            flags: 0,
            reserved: [0; 3],
        };
        let speed = u32::from(SPEED);
        let nominal = PerformanceDescriptor {
            start: 0.into(),
            start_speed: speed.into(),
            end: (medium.blocks - 1).into(),
            end_speed: speed.into(),
        };
        let room = usize::from(descriptors.min(1)) * size_of::<PerformanceDescriptor>();
        let reply = [header.as_bytes(), &nominal.as_bytes()[..room]].concat();
        Ok(data.reply(&reply, usize::MAX))
    }

    pub(super) fn read_dvd_structure(
        &self,
        format: u8,
        layer: u8,
        allocation_length: u16,
        data: &DataBuffer<'_>,
    ) -> Reply {
        /// Physical format.
        const PHYSICAL: u8 = 0;
        /// Copyright: none, for all regions.
        const COPYRIGHT: u8 = 1;
        /// What the manufacturer has to say: nothing.
        const MANUFACTURER: u8 = 4;
        let medium = self.bay.ready()?;
        if layer != 0 {
            return Err(Outcome::BAD_FIELD);
        }
        let body = match format {
            PHYSICAL => {
                let physical = PhysicalFormat {
                    book: PhysicalFormat::DVD_ROM,
                    size_and_rate: PhysicalFormat::NO_RATE,
                    layers: PhysicalFormat::ONE_LAYER,
                    density: 0,
                    first_sector: PhysicalFormat::FIRST_SECTOR.into(),
                    last_sector: PhysicalFormat::FIRST_SECTOR
                        .saturating_add(medium.blocks - 1)
                        .into(),
                    layer_end: 0.into(),
                };
                let mut body = physical.as_bytes().to_vec();
                body.resize(DVD_STRUCTURE, 0);
                body
            }
            COPYRIGHT => vec![0; 4],
            MANUFACTURER => vec![0; DVD_STRUCTURE],
            _ => return Err(Outcome::BAD_FIELD),
        };
        let header = DvdStructureHeader {
            // At most 2050.
            length: ((size_of::<DvdStructureHeader>() - 2 + body.len()) as u16).into(),
            reserved: [0; 2],
        };
        let reply = [header.as_bytes(), &body].concat();
        Ok(data.reply(&reply, allocation_length.into()))
    }

    pub(super) fn mechanism_status(
        &self,
        allocation_length: u16,
        data: &DataBuffer<'_>,
    ) -> Outcome {
        let mut reply = MechanismStatus::new_zeroed();
        if self.state().tray_open {
            reply.flags = MechanismStatus::DOOR_OPEN;
        }
        data.reply(reply.as_bytes(), allocation_length.into())
    }
}

/// The drive has no buffer for writing.
pub(super) fn read_buffer_capacity(allocation_length: u16, data: &DataBuffer<'_>) -> Outcome {
    let mut reply = [0; 12];
    reply[1] = (reply.len() - 2) as u8;
    data.reply(&reply, allocation_length.into())
}

/// How fast a guest wants to read makes no difference.
pub(super) fn set_streaming(parameter_length: u16, data: &DataBuffer<'_>) -> Outcome {
    match parameter_length {
        0 => Outcome::DONE,
        STREAMING_LIST if u32::from(STREAMING_LIST) <= data.length() => Outcome::Good {
            transferred: STREAMING_LIST.into(),
        },
        _ => Outcome::BAD_LIST_LENGTH,
    }
}
