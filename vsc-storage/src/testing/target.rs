//! Disks that answer commands, for tests.

use std::collections::VecDeque;
use std::vec;
use std::vec::Vec;

use zerocopy::IntoBytes;

use crate::scsi::{
    AdditionalSense, BlockCharacteristics, BlockLimits, CachingPage, Command, DeviceParameter,
    LogicalBlockProvisioning, ModeHeader6, Page83, PeripheralType, ReadCapacity10, ReadCapacity16,
    ReportLunsHeader, ReportedLun, Sense, SenseKey, StandardInquiry, Transfer, VpdHeader, VpdPage,
    mode_page, unmap_descriptors,
};

/// What a command came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) srb: u8,
    pub(crate) scsi: u8,
    pub(crate) sense: Option<Sense>,
    /// Data for the guest.
    pub(crate) data: Vec<u8>,
    /// Bytes reported as moved, if not the length of `data` (or of the write).
    pub(crate) transferred: Option<u32>,
}

impl Reply {
    pub(crate) fn good(data: Vec<u8>) -> Self {
        Self {
            srb: 1,
            data,
            ..Self::default()
        }
    }

    pub(crate) fn check(key: SenseKey, additional: AdditionalSense) -> Self {
        Self {
            srb: if key == SenseKey::ILLEGAL_REQUEST {
                0x86
            } else {
                0x84
            },
            scsi: 2,
            sense: Some(Sense::new(key, additional)),
            ..Self::default()
        }
    }

    pub(crate) fn status(srb: u8, scsi: u8) -> Self {
        Self {
            srb,
            scsi,
            ..Self::default()
        }
    }
}

/// One disk.
#[derive(Clone, Debug)]
pub(crate) struct TestDisk {
    pub(crate) kind: PeripheralType,
    pub(crate) version: u8,
    pub(crate) block_size: u32,
    pub(crate) exponent: u8,
    pub(crate) blocks: u64,
    pub(crate) data: Vec<u8>,
    pub(crate) write_cache: bool,
    pub(crate) parameter: DeviceParameter,
    pub(crate) unmap: bool,
    pub(crate) medium: bool,
    pub(crate) max_unmap: u32,
    pub(crate) guid: [u8; 16],
    /// Writes not flushed yet.
    pub(crate) dirty: bool,
}

impl TestDisk {
    pub(crate) fn new(blocks: u64, block_size: u32) -> Self {
        Self {
            kind: PeripheralType::DIRECT_ACCESS,
            version: 5,
            block_size,
            exponent: 0,
            blocks,
            // Disks too large to hold have no data.
            data: vec![
                0;
                if blocks < 1 << 20 {
                    blocks as usize * block_size as usize
                } else {
                    0
                }
            ],
            write_cache: true,
            parameter: DeviceParameter::DPO_FUA,
            unmap: true,
            medium: true,
            max_unmap: 1000,
            guid: *b"0123456789abcdef",
            dirty: false,
        }
    }
}

/// A controller's disks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    pub(crate) disks: Vec<(u8, TestDisk)>,
    /// Replies given instead of executing the next commands.
    pub(crate) forced: VecDeque<Reply>,
    /// Every command received, with its unit.
    pub(crate) log: Vec<(u8, Command)>,
}

const ILLEGAL: SenseKey = SenseKey::ILLEGAL_REQUEST;

impl Target {
    pub(crate) fn with_disk(disk: TestDisk) -> Self {
        Self {
            disks: vec![(0, disk)],
            ..Self::default()
        }
    }

    pub(crate) fn disk(&mut self, lun: u8) -> &mut TestDisk {
        let (_, disk) = self
            .disks
            .iter_mut()
            .find(|(number, _)| *number == lun)
            .unwrap();
        disk
    }

    /// Executes a command; `out` is its data from the guest.
    pub(crate) fn execute(&mut self, lun: u8, cdb: &[u8; 16], out: &[u8]) -> Reply {
        let command = match Command::parse(cdb) {
            Ok(command) => command,
            Err(_) => {
                return Reply::check(ILLEGAL, AdditionalSense::INVALID_COMMAND_OPERATION_CODE);
            }
        };
        self.log.push((lun, command));
        if let Some(reply) = self.forced.pop_front() {
            return reply;
        }
        let known = self.disks.iter_mut().find(|(number, _)| *number == lun);
        match (command, known) {
            (
                Command::ReportLuns {
                    allocation_length, ..
                },
                _,
            ) => {
                let mut data = Vec::new();
                let length = self.disks.len() as u32 * 8;
                data.extend_from_slice(
                    ReportLunsHeader {
                        list_length: length.into(),
                        reserved: 0.into(),
                    }
                    .as_bytes(),
                );
                for (lun, _) in &self.disks {
                    data.extend_from_slice(ReportedLun::peripheral(*lun).as_bytes());
                }
                data.truncate(allocation_length as usize);
                Reply::good(data)
            }
            (_, Some((_, disk))) => disk.execute(command, out),
            (
                Command::Inquiry {
                    vital_product_data: false,
                    ..
                },
                None,
            ) => {
                let mut data = vec![0; 36];
                data[0] = StandardInquiry::ABSENT;
                data[4] = 31;
                Reply::good(data)
            }
            (_, None) => Reply::status(0x20, 2),
        }
    }
}

impl TestDisk {
    fn execute(&mut self, command: Command, out: &[u8]) -> Reply {
        match command {
            Command::TestUnitReady if self.medium => Reply::good(vec![]),
            Command::TestUnitReady => {
                Reply::check(SenseKey::NOT_READY, AdditionalSense::MEDIUM_NOT_PRESENT)
            }
            Command::Inquiry {
                vital_product_data,
                page,
                allocation_length,
                ..
            } => {
                let data = if vital_product_data {
                    match self.page(page) {
                        Some(body) => {
                            let header = VpdHeader {
                                peripheral: self.kind.0,
                                page: page.0,
                                length: (body.len() as u16).into(),
                            };
                            [header.as_bytes(), &body].concat()
                        }
                        None => {
                            return Reply::check(ILLEGAL, AdditionalSense::INVALID_FIELD_IN_CDB);
                        }
                    }
                } else {
                    self.inquiry()
                };
                Reply::good(data[..data.len().min(allocation_length.into())].to_vec())
            }
            Command::ReadCapacity10 => {
                let last = u32::try_from(self.blocks - 1).unwrap_or(u32::MAX);
                let data = ReadCapacity10 {
                    last_lba: last.into(),
                    block_length: self.block_size.into(),
                };
                Reply::good(data.as_bytes().to_vec())
            }
            Command::ReadCapacity16 { .. } => {
                let data = ReadCapacity16 {
                    last_lba: (self.blocks.wrapping_sub(1)).into(),
                    block_length: self.block_size.into(),
                    protection: 0,
                    physical_exponent: self.exponent,
                    provisioning: if self.unmap { 0xC000 } else { 0 }.into(),
                    reserved: [0; 16],
                };
                Reply::good(data.as_bytes().to_vec())
            }
            Command::ModeSense {
                page,
                allocation_length,
                ..
            } => {
                if !matches!(page, mode_page::CACHING | mode_page::ALL) {
                    return Reply::check(ILLEGAL, AdditionalSense::INVALID_FIELD_IN_CDB);
                }
                let header = ModeHeader6 {
                    length: 15,
                    medium_type: 0,
                    device_parameter: self.parameter.bits(),
                    block_descriptor_length: 0,
                };
                let page = CachingPage::new(self.write_cache);
                let data = [header.as_bytes(), page.as_bytes()].concat();
                Reply::good(data[..data.len().min(allocation_length.into())].to_vec())
            }
            Command::Read(transfer) => match self.range(&transfer) {
                Some(range) => Reply::good(self.data[range].to_vec()),
                None => Reply::check(ILLEGAL, AdditionalSense::LBA_OUT_OF_RANGE),
            },
            Command::Write(transfer) => {
                if self.parameter.contains(DeviceParameter::WRITE_PROTECTED) {
                    return Reply::check(SenseKey::DATA_PROTECT, AdditionalSense::WRITE_PROTECTED);
                }
                match self.range(&transfer) {
                    Some(range) => {
                        assert_eq!(out.len(), range.len(), "as much data as blocks");
                        self.data[range].copy_from_slice(out);
                        self.dirty |= !transfer.force_unit_access();
                        Reply::good(vec![])
                    }
                    None => Reply::check(ILLEGAL, AdditionalSense::LBA_OUT_OF_RANGE),
                }
            }
            Command::SynchronizeCache(_) => {
                self.dirty = false;
                Reply::good(vec![])
            }
            Command::Unmap { .. } => {
                let (header, list) = unmap_descriptors(out).unwrap();
                assert_eq!(usize::from(header.data_length.get()), out.len() - 2);
                assert_eq!(usize::from(header.descriptor_length.get()), out.len() - 8);
                for descriptor in list {
                    assert!(descriptor.blocks.get() <= self.max_unmap);
                    let transfer = Transfer::new(descriptor.lba.get(), descriptor.blocks.get());
                    let range = self.range(&transfer).unwrap();
                    self.data[range].fill(0);
                }
                Reply::good(vec![])
            }
            _ => Reply::check(ILLEGAL, AdditionalSense::INVALID_COMMAND_OPERATION_CODE),
        }
    }

    fn range(&self, transfer: &Transfer) -> Option<core::ops::Range<usize>> {
        let size = u64::from(self.block_size);
        let end = transfer.lba.checked_add(transfer.blocks.into())?;
        (end <= self.blocks && !self.data.is_empty())
            .then(|| (transfer.lba * size) as usize..(end * size) as usize)
    }

    fn inquiry(&self) -> Vec<u8> {
        let mut data = StandardInquiry {
            peripheral: self.kind.0,
            removable: if self.kind == PeripheralType::OPTICAL {
                0x80
            } else {
                0
            },
            version: self.version,
            response_format: 2,
            additional_length: 0x63,
            flags0: 0,
            flags1: 0,
            flags2: 2,
            vendor: *b"Msft    ",
            product: *b"Virtual Disk    ",
            revision: *b"1.0 ",
        }
        .as_bytes()
        .to_vec();
        data.resize(104, 0);
        data
    }

    fn page(&self, page: VpdPage) -> Option<Vec<u8>> {
        Some(match page {
            VpdPage::SUPPORTED_PAGES => vec![0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2],
            VpdPage::SERIAL_NUMBER => b"  serial-42 ".to_vec(),
            VpdPage::DEVICE_IDENTIFICATION => Page83::new(self.guid).as_bytes().to_vec(),
            VpdPage::BLOCK_LIMITS => BlockLimits {
                flags: 0,
                max_compare_and_write: 0,
                optimal_granularity: 1.into(),
                max_transfer: 0.into(),
                optimal_transfer: 0.into(),
                max_prefetch: 0.into(),
                max_unmap_blocks: self.max_unmap.into(),
                max_unmap_descriptors: 1.into(),
                unmap_granularity: 8.into(),
                unmap_alignment: 0x8000_0003.into(),
                max_write_same: 0.into(),
                reserved: [0; 20],
            }
            .as_bytes()
            .to_vec(),
            VpdPage::BLOCK_CHARACTERISTICS => BlockCharacteristics {
                rotation_rate: 1.into(),
                reserved: [0; 58],
            }
            .as_bytes()
            .to_vec(),
            VpdPage::LOGICAL_BLOCK_PROVISIONING => LogicalBlockProvisioning {
                threshold_exponent: 1,
                flags: LogicalBlockProvisioning::UNMAP,
                provisioning_type: 2,
                reserved: 0,
            }
            .as_bytes()
            .to_vec(),
            _ => return None,
        })
    }
}
