//! Reading what is known of one logical unit.

use zerocopy::FromBytes;

use super::super::{
    DiscardLimits, DiskError, DiskInfo, DiskKind, Geometry, Identity, Text, UnitError,
};
use super::{INQUIRY_LENGTH, Unit, inquiry};
use crate::queue::Address;
use crate::scsi::{
    BlockCharacteristics, BlockLimits, Capacity, Command, Designator, DeviceParameter, InquiryData,
    LogicalBlockProvisioning, ModeForm, ModeSense, PageControl, PeripheralType, VpdPage,
    designators, mode_page, parse_capacity_10, parse_capacity_16, vpd_body,
};

/// Pages of vital product data that are read, in this order.
const PAGES: [VpdPage; 5] = [
    VpdPage::SERIAL_NUMBER,
    VpdPage::DEVICE_IDENTIFICATION,
    VpdPage::BLOCK_LIMITS,
    VpdPage::BLOCK_CHARACTERISTICS,
    VpdPage::LOGICAL_BLOCK_PROVISIONING,
];
const PAGE_LENGTH: u16 = 255;
const MODE_LENGTH: u16 = 64;
const MODE_HEADER_LENGTH: u16 = 4;
/// Version in the standard data from which on the long capacity command is asked first (SPC-3).
const SPC_3: u8 = 5;

/// A command about one unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum UnitStep {
    Inquiry,
    Pages,
    /// Index in [`PAGES`].
    Page(usize),
    Ready,
    Capacity16,
    Capacity10,
    Caching,
    ModeHeader,
}

impl UnitStep {
    /// The command and the bytes of data that it returns at most.
    pub(super) fn command(self) -> (Command, u32) {
        let page = |page, length| {
            let command = Command::Inquiry {
                vital_product_data: true,
                command_support_data: false,
                page,
                allocation_length: length,
            };
            (command, u32::from(length))
        };
        let mode = |page, length| {
            let command = Command::ModeSense {
                form: ModeForm::Six,
                disable_block_descriptors: false,
                page_control: PageControl::Current,
                page,
                sub_page: 0,
                allocation_length: length,
            };
            (command, u32::from(length))
        };
        match self {
            Self::Inquiry => (inquiry(INQUIRY_LENGTH), u32::from(INQUIRY_LENGTH)),
            Self::Pages => page(VpdPage::SUPPORTED_PAGES, PAGE_LENGTH),
            Self::Page(index) => page(
                PAGES
                    .get(index)
                    .copied()
                    .unwrap_or(VpdPage::SUPPORTED_PAGES),
                PAGE_LENGTH,
            ),
            Self::Ready => (Command::TestUnitReady, 0),
            Self::Capacity16 => {
                let length = 32;
                let command = Command::ReadCapacity16 {
                    allocation_length: length,
                };
                (command, length)
            }
            Self::Capacity10 => (Command::ReadCapacity10, 8),
            Self::Caching => mode(mode_page::CACHING, MODE_LENGTH),
            Self::ModeHeader => mode(mode_page::ALL, MODE_HEADER_LENGTH),
        }
    }
}

/// What follows a command.
pub(super) enum Next {
    Step(UnitStep),
    /// There is no disk here.
    Absent,
    /// [`Draft::unit`] has the result.
    Finished,
}

/// A unit whose description is being read.
#[derive(Debug)]
pub(super) struct Draft {
    info: DiskInfo,
    version: u8,
    /// One bit for each entry of [`PAGES`] that the unit has.
    pages: u8,
    limits: Option<BlockLimits>,
    unmap: bool,
    capacity: Option<Capacity>,
    problem: Option<UnitError>,
    /// The short capacity command has been asked already.
    asked_10: bool,
}

impl Draft {
    pub(super) const fn new(address: Address) -> Self {
        Self {
            info: DiskInfo {
                address,
                kind: DiskKind::Disk,
                removable: false,
                vendor: Text::EMPTY,
                product: Text::EMPTY,
                revision: Text::EMPTY,
                serial: None,
                identity: Identity {
                    disk: None,
                    naa: None,
                },
                geometry: None,
                read_only: false,
                write_cache: true,
                force_unit_access: false,
                discard: None,
                max_transfer_blocks: 0,
                solid_state: false,
            },
            version: 0,
            pages: 0,
            limits: None,
            unmap: false,
            capacity: None,
            problem: None,
            asked_10: false,
        }
    }

    /// Takes the data or the final failure of a command.
    pub(super) fn take(&mut self, step: UnitStep, result: Result<&[u8], DiskError>) -> Next {
        // Pulled out since it was found: if it is back, the host announces that, and the next scan sees all of it.
        if result == Err(DiskError::Gone) {
            return Next::Absent;
        }
        match step {
            UnitStep::Inquiry => match result.ok().and_then(InquiryData::parse) {
                Some(data) if data.is_present() => self.take_inquiry(&data),
                _ => Next::Absent,
            },
            UnitStep::Pages => {
                let list = result
                    .ok()
                    .and_then(|data| vpd_body(VpdPage::SUPPORTED_PAGES, data));
                for (index, page) in PAGES.iter().enumerate() {
                    if list.unwrap_or_default().contains(&page.0) {
                        self.pages |= 1 << index;
                    }
                }
                self.page_from(0)
            }
            UnitStep::Page(index) => {
                if let (Ok(data), Some(page)) = (result, PAGES.get(index))
                    && let Some(body) = vpd_body(*page, data)
                {
                    self.take_page(*page, body);
                }
                self.page_from(index.saturating_add(1))
            }
            UnitStep::Ready => match result {
                Err(DiskError::NoMedium) => self.finish(),
                _ if self.version >= SPC_3 => Next::Step(UnitStep::Capacity16),
                _ => Next::Step(UnitStep::Capacity10),
            },
            UnitStep::Capacity16 | UnitStep::Capacity10 => self.take_capacity(step, result),
            UnitStep::Caching => {
                let sense = result
                    .ok()
                    .and_then(|data| ModeSense::parse(ModeForm::Six, data).ok());
                let Some(sense) = sense else {
                    return Next::Step(UnitStep::ModeHeader);
                };
                self.take_parameter(sense.device_parameter);
                self.info.write_cache = sense.write_cache.unwrap_or(true);
                self.finish()
            }
            UnitStep::ModeHeader => {
                let sense = result
                    .ok()
                    .and_then(|data| ModeSense::parse(ModeForm::Six, data).ok());
                if let Some(sense) = sense {
                    self.take_parameter(sense.device_parameter);
                }
                self.finish()
            }
        }
    }

    fn take_inquiry(&mut self, data: &InquiryData) -> Next {
        self.info.kind = match data.peripheral_type {
            PeripheralType::DIRECT_ACCESS => DiskKind::Disk,
            PeripheralType::OPTICAL => DiskKind::Optical,
            _ => return Next::Absent,
        };
        self.info.removable = data.is_removable();
        self.info.vendor = Text::from_padded(&data.fields.vendor);
        self.info.product = Text::from_padded(&data.fields.product);
        self.info.revision = Text::from_padded(&data.fields.revision);
        self.version = data.fields.version;
        Next::Step(UnitStep::Pages)
    }

    fn page_from(&self, index: usize) -> Next {
        let next = (index..PAGES.len()).find(|index| self.pages >> index & 1 != 0);
        Next::Step(next.map_or(UnitStep::Ready, UnitStep::Page))
    }

    fn take_page(&mut self, page: VpdPage, body: &[u8]) {
        match page {
            VpdPage::SERIAL_NUMBER => {
                let serial = Text::from_padded(body);
                self.info.serial = (!serial.is_empty()).then_some(serial);
            }
            VpdPage::DEVICE_IDENTIFICATION => {
                for designator in designators(body).filter(|one| one.association == 0) {
                    self.take_designator(&designator);
                }
            }
            VpdPage::BLOCK_LIMITS => {
                if let Ok((limits, _)) = BlockLimits::read_from_prefix(body) {
                    self.info.max_transfer_blocks = limits.max_transfer.get();
                    self.limits = Some(limits);
                }
            }
            VpdPage::BLOCK_CHARACTERISTICS => {
                if let [high, low, ..] = *body {
                    let rate = u16::from_be_bytes([high, low]);
                    self.info.solid_state = rate == BlockCharacteristics::NON_ROTATING;
                }
            }
            VpdPage::LOGICAL_BLOCK_PROVISIONING => {
                if let Ok((page, _)) = LogicalBlockProvisioning::read_from_prefix(body) {
                    self.unmap = page.flags & LogicalBlockProvisioning::UNMAP != 0;
                }
            }
            _ => {}
        }
    }

    fn take_designator(&mut self, designator: &Designator<'_>) {
        match designator.designator_type {
            Designator::NAA => {
                if let Ok(name) = <[u8; 16]>::try_from(designator.bytes) {
                    self.info.identity.naa.get_or_insert(name);
                }
            }
            Designator::VENDOR => {
                if let Some((b"Msft    ", disk)) = designator.bytes.split_first_chunk()
                    && let Ok(disk) = <[u8; 16]>::try_from(disk)
                {
                    self.info.identity.disk.get_or_insert(disk);
                }
            }
            _ => {}
        }
    }

    fn take_capacity(&mut self, step: UnitStep, result: Result<&[u8], DiskError>) -> Next {
        let long = step == UnitStep::Capacity16;
        self.asked_10 |= !long;
        let parsed = result.map(|data| {
            let capacity = if long {
                parse_capacity_16(data)
            } else {
                parse_capacity_10(data)
            };
            capacity.ok_or(UnitError::ShortCapacity {
                bytes: u32::try_from(data.len()).unwrap_or(u32::MAX),
            })
        });
        let problem = match parsed {
            Ok(Ok(capacity)) => {
                // The short command says "more than I can say"; then the long one knows.
                if !long && capacity.last_lba == u64::from(u32::MAX) {
                    self.capacity = Some(capacity);
                    return Next::Step(UnitStep::Capacity16);
                }
                return self.take_geometry(&capacity);
            }
            Ok(Err(problem)) => problem,
            Err(DiskError::NoMedium) => return self.finish(),
            Err(error) => UnitError::NoCapacity(error),
        };
        if long && !self.asked_10 {
            return Next::Step(UnitStep::Capacity10);
        }
        // A disk of exactly 2³² blocks whose device has no long command.
        if let Some(capacity) = self.capacity {
            return self.take_geometry(&capacity);
        }
        self.problem = Some(problem);
        self.finish()
    }

    fn take_geometry(&mut self, capacity: &Capacity) -> Next {
        match Geometry::new(capacity) {
            Ok(geometry) => {
                self.capacity = Some(*capacity);
                self.info.geometry = Some(geometry);
                if self.info.kind == DiskKind::Optical {
                    self.finish()
                } else {
                    Next::Step(UnitStep::Caching)
                }
            }
            Err(problem) => {
                self.capacity = None;
                self.problem = Some(problem);
                self.finish()
            }
        }
    }

    fn take_parameter(&mut self, parameter: DeviceParameter) {
        self.info.read_only = parameter.contains(DeviceParameter::WRITE_PROTECTED);
        self.info.force_unit_access = parameter.contains(DeviceParameter::DPO_FUA);
    }

    fn finish(&mut self) -> Next {
        if self.info.kind == DiskKind::Optical {
            self.info.read_only = true;
            self.info.write_cache = false;
        }
        self.info.discard = self.discard();
        Next::Finished
    }

    /// The unit, once it is finished.
    pub(super) const fn unit(&self) -> Unit {
        Unit {
            info: self.info,
            problem: self.problem,
        }
    }

    fn discard(&self) -> Option<DiscardLimits> {
        let limits = self.limits?;
        let capacity = self.capacity.filter(|capacity| capacity.provisioned)?;
        let max_blocks = limits.max_unmap_blocks.get();
        let usable = self.unmap
            && !self.info.read_only
            && max_blocks != 0
            && limits.max_unmap_descriptors.get() != 0;
        let granularity = limits.unmap_granularity.get().max(1);
        let alignment = limits.unmap_alignment.get();
        let alignment = if alignment >> 31 != 0 {
            (alignment & 0x7FFF_FFFF)
                .checked_rem(granularity)
                .unwrap_or(0)
        } else {
            0
        };
        usable.then_some(DiscardLimits {
            max_blocks,
            granularity,
            alignment,
            reads_zero: capacity.unmapped_reads_zero,
        })
    }
}
