//! Layouts of commands that do not address a range of blocks.

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(super) const READ_CAPACITY_16_ACTION: u8 = 0x10;
pub(super) const GET_LBA_STATUS_ACTION: u8 = 0x12;
pub(super) const SERVICE_ACTION_MASK: u8 = 0x1F;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct InquiryLayout {
    pub(super) opcode: u8,
    pub(super) flags: u8,
    pub(super) page: u8,
    pub(super) allocation_length: U16,
    pub(super) control: u8,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Parameters10 {
    pub(super) opcode: u8,
    pub(super) flags: u8,
    pub(super) page: u8,
    pub(super) sub_page: u8,
    pub(super) reserved: [u8; 3],
    pub(super) length: U16,
    pub(super) control: u8,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ReserveOutLayout {
    pub(super) opcode: u8,
    pub(super) action: u8,
    pub(super) scope_and_type: u8,
    pub(super) reserved: [u8; 2],
    pub(super) length: U32,
    pub(super) control: u8,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ReportLunsLayout {
    pub(super) opcode: u8,
    pub(super) reserved0: u8,
    pub(super) select: u8,
    pub(super) reserved1: [u8; 3],
    pub(super) allocation_length: U32,
    pub(super) reserved2: u8,
    pub(super) control: u8,
}

const _: () = {
    assert!(size_of::<InquiryLayout>() == 6);
    assert!(size_of::<Parameters10>() == 10);
    assert!(size_of::<ReserveOutLayout>() == 10);
    assert!(size_of::<ReportLunsLayout>() == 12);
};
