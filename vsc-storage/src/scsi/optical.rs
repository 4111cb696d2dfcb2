//! Commands that only optical drives know (MMC-6).

mod layout;
#[cfg(test)]
mod tests;

use super::Opcode;

pub use layout::{
    CapabilitiesPage, ConfigurationHeader, DiscInformation, DvdStructureHeader, EventHeader,
    FeatureHeader, MechanismStatus, MediaEvent, PerformanceDescriptor, PerformanceHeader,
    PhysicalFormat, ProfileDescriptor, TocEntry, TocHeader, TrackInformation, event_code, feature,
    msf, profile,
};

/// A command's descriptor block, decoded. The commands that disks know as well are in
/// [`Command`](super::Command).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OpticalCommand {
    /// READ TOC/PMA/ATIP.
    ReadToc {
        /// Addresses as minute, second and frame instead of blocks.
        msf: bool,
        /// What is asked for: 0 the tracks, 1 the sessions.
        format: u8,
        /// First track (or session) wanted.
        track: u8,
        /// Most bytes wanted.
        allocation_length: u16,
    },
    /// GET CONFIGURATION.
    GetConfiguration {
        /// 0 all features, 1 those that are current, 2 one, 3 reserved.
        request: u8,
        /// First feature wanted, or the only one.
        feature: u16,
        /// Most bytes wanted.
        allocation_length: u16,
    },
    /// GET EVENT STATUS NOTIFICATION.
    GetEventStatus {
        /// Answer at once.
        polled: bool,
        /// A bit for each class of events wanted.
        classes: u8,
        /// Most bytes wanted.
        allocation_length: u16,
    },
    /// READ DISC INFORMATION.
    ReadDiscInformation {
        /// Kind of information, 0 the standard one.
        data_type: u8,
        /// Most bytes wanted.
        allocation_length: u16,
    },
    /// READ TRACK INFORMATION.
    ReadTrackInformation {
        /// What `address` is: 0 a block, 1 a track, 2 a session.
        address_type: u8,
        /// Block, track or session.
        address: u32,
        /// Most bytes wanted.
        allocation_length: u16,
    },
    /// READ BUFFER CAPACITY.
    ReadBufferCapacity {
        /// Most bytes wanted.
        allocation_length: u16,
    },
    /// GET PERFORMANCE.
    GetPerformance {
        /// Kind of data, 0 the performance.
        data_type: u8,
        /// Most descriptors wanted.
        descriptors: u16,
    },
    /// READ DVD STRUCTURE.
    ReadDvdStructure {
        /// Which structure.
        format: u8,
        /// Layer of the medium.
        layer: u8,
        /// Most bytes wanted.
        allocation_length: u16,
    },
    /// MECHANISM STATUS.
    MechanismStatus {
        /// Most bytes wanted.
        allocation_length: u16,
    },
    /// SET STREAMING.
    SetStreaming {
        /// Bytes of the parameter list.
        parameter_length: u16,
    },
}

impl OpticalCommand {
    /// Decodes a command's 16 bytes; `None` if it is none of these.
    #[must_use]
    pub fn parse(cdb: &[u8; 16]) -> Option<Self> {
        let [opcode, flags, b2, b3, b4, b5, b6, b7, b8, b9, b10, ..] = *cdb;
        let allocation_length = u16::from_be_bytes([b7, b8]);
        Some(match Opcode(opcode) {
            Opcode::READ_TOC => Self::ReadToc {
                msf: flags & 2 != 0,
                // Drivers older than the standard put it into the last byte.
                format: match b2 & 0xF {
                    0 => b9 >> 6,
                    format => format,
                },
                track: b6,
                allocation_length,
            },
            Opcode::GET_CONFIGURATION => Self::GetConfiguration {
                request: flags & 3,
                feature: u16::from_be_bytes([b2, b3]),
                allocation_length,
            },
            Opcode::GET_EVENT_STATUS_NOTIFICATION => Self::GetEventStatus {
                polled: flags & 1 != 0,
                classes: b4,
                allocation_length,
            },
            Opcode::READ_DISC_INFORMATION => Self::ReadDiscInformation {
                data_type: flags & 7,
                allocation_length,
            },
            Opcode::READ_TRACK_INFORMATION => Self::ReadTrackInformation {
                address_type: flags & 3,
                address: u32::from_be_bytes([b2, b3, b4, b5]),
                allocation_length,
            },
            Opcode::READ_BUFFER_CAPACITY => Self::ReadBufferCapacity { allocation_length },
            Opcode::GET_PERFORMANCE => Self::GetPerformance {
                data_type: b10,
                descriptors: u16::from_be_bytes([b8, b9]),
            },
            Opcode::READ_DVD_STRUCTURE => Self::ReadDvdStructure {
                format: b7,
                layer: b6,
                allocation_length: u16::from_be_bytes([b8, b9]),
            },
            Opcode::MECHANISM_STATUS => Self::MechanismStatus {
                allocation_length: u16::from_be_bytes([b8, b9]),
            },
            Opcode::SET_STREAMING => Self::SetStreaming {
                parameter_length: u16::from_be_bytes([b9, b10]),
            },
            _ => return None,
        })
    }

    /// Whether the command sends data to the drive; all others read from it.
    #[must_use]
    pub const fn sends_data(&self) -> bool {
        matches!(self, Self::SetStreaming { .. })
    }
}
