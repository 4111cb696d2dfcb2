//! INQUIRY: standard data and vital product data.

use vsc_storage::scsi::{
    BlockCharacteristics, BlockLimits, LogicalBlockProvisioning, Page83, PeripheralType,
    StandardInquiry, VpdHeader, VpdPage,
};
use zerocopy::{FromZeros, IntoBytes};

use super::provisioning::MAX_UNMAP_DESCRIPTORS;
use super::{DataBuffer, LogicalUnit, Outcome};
use crate::disk::DiskImage as _;

pub(super) const VENDOR: [u8; 8] = *b"Msft    ";
const PRODUCT: [u8; 16] = *b"Virtual Disk    ";
pub(super) const REVISION: [u8; 4] = *b"1.0 ";
/// SPC-3.
const SPC_VERSION: u8 = 5;
/// The only response format there is.
pub(super) const RESPONSE_FORMAT: u8 = 2;

/// Microsoft paging extent properties: version 1, mode-select extension.
const PAGING_EXTENT: [u8; 4] = [0x01, 0x01, 0x00, 0x00];
/// Microsoft virtual device properties: flag for unmapped blocks that read as zeros.
const VIRTUAL_DEVICE_READS_ZERO: u8 = 0x01;
/// Signature in the Microsoft virtual device properties, 89a98f15-c928-4d8b-94cd-ef51faa99d33.
const VIRTUAL_DEVICE_SIGNATURE: [u8; 16] = [
    0x15, 0x8f, 0xa9, 0x89, 0x28, 0xc9, 0x8b, 0x4d, 0x94, 0xcd, 0xef, 0x51, 0xfa, 0xa9, 0x9d, 0x33,
];

/// Block limits: a WRITE SAME of no blocks is refused.
const WRITE_SAME_NON_ZERO: u8 = 0x01;
/// Block limits: the UNMAP alignment is valid, and 0.
const ALIGNMENT_VALID: u32 = 0x8000_0000;

/// Fewest bytes of standard data and of a page that may be asked for.
pub(super) const MINIMUM_STANDARD: u16 = 5;
pub(super) const MINIMUM_PAGE: u16 = 4;

/// Standard data of a disk.
fn disk_data() -> [u8; StandardInquiry::DISK_SIZE] {
    let mut data = [0; StandardInquiry::DISK_SIZE];
    let head = StandardInquiry {
        peripheral: PeripheralType::DIRECT_ACCESS.0,
        removable: 0,
        version: SPC_VERSION,
        response_format: RESPONSE_FORMAT,
        additional_length: (StandardInquiry::DISK_SIZE - StandardInquiry::MINIMUM_SIZE) as u8,
        flags0: 0,
        flags1: 0,
        // Without it Linux sends one command at a time.
        flags2: StandardInquiry::COMMAND_QUEUEING,
        vendor: VENDOR,
        product: PRODUCT,
        revision: REVISION,
    };
    data[..size_of::<StandardInquiry>()].copy_from_slice(head.as_bytes());
    data
}

/// Answers INQUIRY for a logical unit that isn't there: that there is none. Guests that scan rely on it.
pub(super) fn absent_inquiry(
    lun: u8,
    vital_product_data: bool,
    command_support_data: bool,
    page: VpdPage,
    allocation_length: u16,
    data: &DataBuffer<'_>,
) -> Outcome {
    if vital_product_data || command_support_data || page != VpdPage(0) {
        return Outcome::BAD_FIELD;
    }
    let mut reply = disk_data();
    let (head, names) = reply.split_at_mut(8);
    head[0] = StandardInquiry::ABSENT;
    head[7] = 0;
    if lun != 0 {
        names.fill(0);
    }
    inquiry_reply(&reply, MINIMUM_STANDARD, allocation_length, data)
}

/// Answers INQUIRY, refusing allocation lengths that cut even the header. Nothing asked for is no error.
pub(super) fn inquiry_reply(
    reply: &[u8],
    minimum: u16,
    allocation_length: u16,
    data: &DataBuffer<'_>,
) -> Outcome {
    match allocation_length {
        0 => Outcome::DONE,
        length if length < minimum => Outcome::BAD_FIELD,
        length => data.reply(reply, length.into()),
    }
}

impl LogicalUnit {
    pub(super) fn standard_inquiry(
        page: VpdPage,
        allocation_length: u16,
        data: &DataBuffer<'_>,
    ) -> Outcome {
        if page != VpdPage(0) {
            return Outcome::BAD_FIELD;
        }
        inquiry_reply(&disk_data(), MINIMUM_STANDARD, allocation_length, data)
    }

    pub(super) fn vital_product_data(
        &self,
        page: VpdPage,
        allocation_length: u16,
        data: &DataBuffer<'_>,
    ) -> Outcome {
        let body = match page {
            VpdPage::SUPPORTED_PAGES => self.supported_pages().map(|page| page.0).collect(),
            VpdPage::DEVICE_IDENTIFICATION => {
                Page83::new(self.image.info().identity).as_bytes().to_vec()
            }
            VpdPage::BLOCK_LIMITS => self.block_limits().as_bytes().to_vec(),
            VpdPage::BLOCK_CHARACTERISTICS => BlockCharacteristics {
                rotation_rate: BlockCharacteristics::NON_ROTATING.into(),
                reserved: [0; 58],
            }
            .as_bytes()
            .to_vec(),
            VpdPage::LOGICAL_BLOCK_PROVISIONING if self.unmaps() => {
                self.provisioning().as_bytes().to_vec()
            }
            VpdPage::MSFT_PAGING_EXTENT => PAGING_EXTENT.to_vec(),
            VpdPage::MSFT_VIRTUAL_DEVICE => self.virtual_device_properties(),
            _ => return Outcome::BAD_FIELD,
        };
        let header = VpdHeader {
            peripheral: PeripheralType::DIRECT_ACCESS.0,
            page: page.0,
            // All bodies are below 64 bytes.
            length: (body.len() as u16).into(),
        };
        let reply = [header.as_bytes(), &body].concat();
        inquiry_reply(&reply, MINIMUM_PAGE, allocation_length, data)
    }

    fn supported_pages(&self) -> impl Iterator<Item = VpdPage> {
        let provisioning = self.unmaps().then_some(VpdPage::LOGICAL_BLOCK_PROVISIONING);
        [
            VpdPage::SUPPORTED_PAGES,
            VpdPage::DEVICE_IDENTIFICATION,
            VpdPage::BLOCK_LIMITS,
            VpdPage::BLOCK_CHARACTERISTICS,
        ]
        .into_iter()
        .chain(provisioning)
        .chain([VpdPage::MSFT_PAGING_EXTENT, VpdPage::MSFT_VIRTUAL_DEVICE])
    }

    fn block_limits(&self) -> BlockLimits {
        let max_blocks = self.max_transfer >> self.sector_shift;
        let mut limits = BlockLimits::new_zeroed();
        limits.flags = WRITE_SAME_NON_ZERO;
        limits.optimal_granularity = (1u16 << self.physical_exponent).into();
        limits.max_transfer = max_blocks.into();
        limits.optimal_transfer = max_blocks.into();
        limits.max_write_same = self.max_write_same_blocks().into();
        if self.unmaps() {
            limits.max_unmap_blocks = u32::MAX.into();
            limits.max_unmap_descriptors = (MAX_UNMAP_DESCRIPTORS as u32).into();
            let granularity = self.image.discard_granularity() >> self.sector_shift;
            limits.unmap_granularity = u32::try_from(granularity.max(1)).unwrap_or(1).into();
            limits.unmap_alignment = ALIGNMENT_VALID.into();
        }
        limits
    }

    fn provisioning(&self) -> LogicalBlockProvisioning {
        let mut exponent = 1u8;
        while (self.sectors - 1) >> exponent > u64::from(u32::MAX) {
            exponent += 1;
        }
        let mut flags = LogicalBlockProvisioning::UNMAP;
        if self.image.info().discard_reads_zero {
            flags |= LogicalBlockProvisioning::WRITE_SAME_16;
        }
        LogicalBlockProvisioning {
            threshold_exponent: exponent,
            flags,
            provisioning_type: LogicalBlockProvisioning::THIN,
            reserved: 0,
        }
    }

    fn virtual_device_properties(&self) -> Vec<u8> {
        let reads_zero = self.unmaps() && self.image.info().discard_reads_zero;
        let flags = if reads_zero {
            VIRTUAL_DEVICE_READS_ZERO
        } else {
            0
        };
        [&[1, flags, 0, 0], VIRTUAL_DEVICE_SIGNATURE.as_slice()].concat()
    }
}
