//! Operation codes and status bytes.

use vmbus_core::open_enum;

open_enum! {
    /// First byte of a command.
    Opcode: u8 {
        /// TEST UNIT READY.
        TEST_UNIT_READY = 0x00,
        /// REQUEST SENSE.
        REQUEST_SENSE = 0x03,
        /// FORMAT UNIT.
        FORMAT_UNIT = 0x04,
        /// READ(6).
        READ_6 = 0x08,
        /// WRITE(6).
        WRITE_6 = 0x0A,
        /// INQUIRY.
        INQUIRY = 0x12,
        /// MODE SELECT(6).
        MODE_SELECT_6 = 0x15,
        /// RESERVE(6).
        RESERVE_6 = 0x16,
        /// RELEASE(6).
        RELEASE_6 = 0x17,
        /// MODE SENSE(6).
        MODE_SENSE_6 = 0x1A,
        /// START STOP UNIT.
        START_STOP_UNIT = 0x1B,
        /// SEND DIAGNOSTIC.
        SEND_DIAGNOSTIC = 0x1D,
        /// PREVENT ALLOW MEDIUM REMOVAL.
        PREVENT_ALLOW_MEDIUM_REMOVAL = 0x1E,
        /// SET WINDOW, refused.
        SET_WINDOW = 0x24,
        /// READ CAPACITY(10).
        READ_CAPACITY_10 = 0x25,
        /// READ(10).
        READ_10 = 0x28,
        /// WRITE(10).
        WRITE_10 = 0x2A,
        /// WRITE AND VERIFY(10).
        WRITE_AND_VERIFY_10 = 0x2E,
        /// VERIFY(10).
        VERIFY_10 = 0x2F,
        /// SYNCHRONIZE CACHE(10).
        SYNCHRONIZE_CACHE_10 = 0x35,
        /// WRITE BUFFER, refused.
        WRITE_BUFFER = 0x3B,
        /// READ BUFFER, refused.
        READ_BUFFER = 0x3C,
        /// WRITE SAME(10).
        WRITE_SAME_10 = 0x41,
        /// UNMAP.
        UNMAP = 0x42,
        /// READ TOC/PMA/ATIP, on optical drives.
        READ_TOC = 0x43,
        /// GET CONFIGURATION, on optical drives.
        GET_CONFIGURATION = 0x46,
        /// GET EVENT STATUS NOTIFICATION, on optical drives.
        GET_EVENT_STATUS_NOTIFICATION = 0x4A,
        /// READ DISC INFORMATION, on optical drives.
        READ_DISC_INFORMATION = 0x51,
        /// READ TRACK INFORMATION, on optical drives.
        READ_TRACK_INFORMATION = 0x52,
        /// MODE SELECT(10).
        MODE_SELECT_10 = 0x55,
        /// RESERVE(10).
        RESERVE_10 = 0x56,
        /// RELEASE(10).
        RELEASE_10 = 0x57,
        /// MODE SENSE(10).
        MODE_SENSE_10 = 0x5A,
        /// READ BUFFER CAPACITY, on optical drives.
        READ_BUFFER_CAPACITY = 0x5C,
        /// PERSISTENT RESERVE IN.
        PERSISTENT_RESERVE_IN = 0x5E,
        /// PERSISTENT RESERVE OUT.
        PERSISTENT_RESERVE_OUT = 0x5F,
        /// READ(16).
        READ_16 = 0x88,
        /// WRITE(16).
        WRITE_16 = 0x8A,
        /// WRITE AND VERIFY(16).
        WRITE_AND_VERIFY_16 = 0x8E,
        /// VERIFY(16).
        VERIFY_16 = 0x8F,
        /// SYNCHRONIZE CACHE(16).
        SYNCHRONIZE_CACHE_16 = 0x91,
        /// WRITE SAME(16).
        WRITE_SAME_16 = 0x93,
        /// SERVICE ACTION IN(16): READ CAPACITY(16) and GET LBA STATUS.
        SERVICE_ACTION_IN_16 = 0x9E,
        /// REPORT LUNS.
        REPORT_LUNS = 0xA0,
        /// MAINTENANCE IN.
        MAINTENANCE_IN = 0xA3,
        /// MAINTENANCE OUT.
        MAINTENANCE_OUT = 0xA4,
        /// READ(12).
        READ_12 = 0xA8,
        /// WRITE(12).
        WRITE_12 = 0xAA,
        /// GET PERFORMANCE, on optical drives.
        GET_PERFORMANCE = 0xAC,
        /// READ DVD STRUCTURE, on optical drives.
        READ_DVD_STRUCTURE = 0xAD,
        /// WRITE AND VERIFY(12).
        WRITE_AND_VERIFY_12 = 0xAE,
        /// VERIFY(12).
        VERIFY_12 = 0xAF,
        /// SET STREAMING, on optical drives.
        SET_STREAMING = 0xB6,
        /// MECHANISM STATUS, on optical drives.
        MECHANISM_STATUS = 0xBD,
    }
}

impl Opcode {
    /// Bytes of a command with this code, from its group: 6, 10, 12 or 16; `None` for the groups
    /// without a fixed length.
    #[must_use]
    pub const fn command_length(self) -> Option<u8> {
        match self.0 >> 5 {
            0 => Some(6),
            1 | 2 => Some(10),
            4 => Some(16),
            5 => Some(12),
            _ => None,
        }
    }
}

open_enum! {
    /// Status byte of a finished command.
    ScsiStatus: u8 {
        /// Done.
        GOOD = 0x00,
        /// Failed; sense data tells why.
        CHECK_CONDITION = 0x02,
        /// A search succeeded.
        CONDITION_MET = 0x04,
        /// Busy; try again.
        BUSY = 0x08,
        /// Linked command done.
        INTERMEDIATE = 0x10,
        /// Linked command done, condition met.
        INTERMEDIATE_CONDITION_MET = 0x14,
        /// Another initiator holds a reservation.
        RESERVATION_CONFLICT = 0x18,
        /// Terminated.
        COMMAND_TERMINATED = 0x22,
        /// No room for another command; try again.
        TASK_SET_FULL = 0x28,
        /// Auto contingent allegiance is in force.
        ACA_ACTIVE = 0x30,
        /// Aborted.
        TASK_ABORTED = 0x40,
    }
}
