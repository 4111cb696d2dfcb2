//! Host memory that a device maps into the guest-physical address space while the guest runs: video RAM.
//!
//! A device owns [`DeviceMemory`] and asks the partition, through a [`DeviceMemoryMapper`], to let the guest
//! see it at an address. Unlike RAM it comes and goes with the device's channel, and it keeps its contents
//! while it is not mapped. The rules of where it may appear are the same in every partition, so they are here,
//! in [`DeviceMemoryMap`]: an implementation asks it first and then tells the hypervisor.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use vm_memory::MmapRegion;
use vmbus_core::shared::{copy_from_shared, copy_to_shared};

use crate::memory::PAGE_SIZE;

/// Most bytes of one device's memory: 1 GiB.
pub const MOST_DEVICE_MEMORY: u64 = 1 << 30;

/// Page-aligned host memory for the guest to see, zeroed when new.
///
/// Guest and host may access it at the same moment. The host does so only through the copies here, which
/// may be torn but are never undefined behaviour; nothing ever borrows it as a Rust slice.
pub struct DeviceMemory {
    region: MmapRegion,
}

/// A range that is not within the device's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("range {offset:#x}+{length:#x} is not within {size:#x} bytes of device memory")]
pub struct OutsideDeviceMemory {
    /// First byte of the range.
    pub offset: u64,
    /// Bytes in the range.
    pub length: u64,
    /// Bytes of memory that there are.
    pub size: u64,
}

impl DeviceMemory {
    /// Takes `size` bytes of zeroed, page-aligned memory from the host; pages cost nothing until written.
    ///
    /// # Errors
    /// `size` is zero, not a whole number of 4096-byte pages or more than [`MOST_DEVICE_MEMORY`], or the host
    /// refuses.
    pub fn new(size: u64) -> io::Result<Arc<Self>> {
        if size == 0 || size > MOST_DEVICE_MEMORY || !size.is_multiple_of(PAGE_SIZE) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "device memory of {size} bytes is not a positive number of 4096-byte pages up to \
                     {MOST_DEVICE_MEMORY} bytes"
                ),
            ));
        }
        let length = usize::try_from(size).map_err(io::Error::other)?;
        let region = MmapRegion::new(length).map_err(io::Error::other)?;
        Ok(Arc::new(Self { region }))
    }

    /// Bytes of memory; a positive multiple of the page size.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.region.size() as u64
    }

    /// Where the memory lies in the host's address space, for the hypervisor. Page-aligned, and valid for
    /// [`size`](Self::size) bytes as long as `self` lives.
    #[must_use]
    pub fn host_address(&self) -> NonNull<u8> {
        NonNull::new(self.region.as_ptr()).expect("a mapping that succeeded is not at address 0")
    }

    /// Copies memory out, each byte read exactly once. What the guest writes meanwhile may be torn.
    ///
    /// # Errors
    /// [`OutsideDeviceMemory`] unless the whole range is within the memory; nothing is then read.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), OutsideDeviceMemory> {
        let from = self.range(offset, into.len())?;
        // SAFETY: `range` has checked that the mapping, which lives as long as `self`, holds the bytes;
        // nothing makes Rust references to them.
        unsafe { copy_from_shared(from.as_ptr(), into) };
        Ok(())
    }

    /// Copies bytes in, each written exactly once.
    ///
    /// # Errors
    /// [`OutsideDeviceMemory`] unless the whole range is within the memory; nothing is then written.
    pub fn write(&self, offset: u64, from: &[u8]) -> Result<(), OutsideDeviceMemory> {
        let to = self.range(offset, from.len())?;
        // SAFETY: as in `read`.
        unsafe { copy_to_shared(to.as_ptr(), from) };
        Ok(())
    }

    /// Pointer to the first of `length` bytes, all within the mapping.
    fn range(&self, offset: u64, length: usize) -> Result<NonNull<u8>, OutsideDeviceMemory> {
        let size = self.size();
        let start = usize::try_from(offset).ok();
        let end = start.and_then(|start| start.checked_add(length));
        match (start, end) {
            (Some(start), Some(end)) if end <= self.region.size() => {
                // SAFETY: `start` is at most the mapping's size.
                Ok(unsafe { self.host_address().add(start) })
            }
            _ => Err(OutsideDeviceMemory {
                offset,
                length: length as u64,
                size,
            }),
        }
    }
}

impl fmt::Debug for DeviceMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceMemory")
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

/// Why device memory cannot be mapped or unmapped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MapError {
    /// The guest-physical address is not a multiple of the page size.
    #[error("guest-physical address {address:#x} of device memory is not page-aligned")]
    Misaligned {
        /// The address asked for.
        address: u64,
    },
    /// The range is not wholly inside one of the windows that the guest was told of.
    #[error("guest-physical range {address:#x}+{size:#x} is not within an MMIO window")]
    OutsideWindows {
        /// The address asked for.
        address: u64,
        /// Bytes of device memory.
        size: u64,
    },
    /// Part of the range is RAM.
    #[error("guest-physical range {address:#x}+{size:#x} overlaps RAM")]
    OverlapsRam {
        /// The address asked for.
        address: u64,
        /// Bytes of device memory.
        size: u64,
    },
    /// Part of the range is occupied by other device memory.
    #[error("guest-physical range {address:#x}+{size:#x} overlaps device memory at {other:#x}")]
    OverlapsMapping {
        /// The address asked for.
        address: u64,
        /// Bytes of device memory.
        size: u64,
        /// Where the other mapping starts.
        other: u64,
    },
    /// This memory is mapped already, at another address.
    #[error("the device memory is already mapped at {at:#x}")]
    AlreadyMapped {
        /// Where it is mapped.
        at: u64,
    },
    /// No mapping starts at the address.
    #[error("no device memory is mapped at {address:#x}")]
    NotMapped {
        /// The address asked for.
        address: u64,
    },
    /// The hypervisor refuses.
    #[error("the hypervisor refuses: {0}")]
    Hypervisor(#[source] io::Error),
}

/// Lets the guest see device memory: what a partition offers its devices.
///
/// The rules of [`DeviceMemoryMap`] hold for every implementation.
pub trait DeviceMemoryMapper: Send + Sync {
    /// Maps the whole of `memory` readable and writable at a guest-physical address. The guest sees it when
    /// the call has returned. The partition keeps the memory alive until it is unmapped or the partition ends.
    ///
    /// # Errors
    /// [`MapError`]; nothing has changed then.
    fn map(&self, guest_address: u64, memory: &Arc<DeviceMemory>) -> Result<(), MapError>;

    /// Takes away the mapping that starts at this address. When the call has returned, the guest cannot
    /// reach the memory any more; its contents stay.
    ///
    /// # Errors
    /// [`MapError::NotMapped`] or, with the mapping still there, [`MapError::Hypervisor`].
    fn unmap(&self, guest_address: u64) -> Result<(), MapError>;
}

/// Where device memory may appear and where it is: the rules that all partitions share.
///
/// A mapping starts on a page, lies wholly within one window, overlaps neither RAM nor another mapping, and
/// one piece of memory is mapped at most once at a time.
#[derive(Debug)]
pub struct DeviceMemoryMap {
    windows: Vec<Range<u64>>,
    ram: Vec<Range<u64>>,
    mappings: BTreeMap<u64, Arc<DeviceMemory>>,
}

impl DeviceMemoryMap {
    /// A map without mappings: `windows` are the guest-physical MMIO windows that the guest is told of, `ram`
    /// the ranges of RAM.
    #[must_use]
    pub fn new(windows: Vec<Range<u64>>, ram: Vec<Range<u64>>) -> Self {
        Self {
            windows,
            ram,
            mappings: BTreeMap::new(),
        }
    }

    /// Whether `memory` may be mapped at `address` now.
    ///
    /// # Errors
    /// [`MapError`], for the first rule that is broken.
    pub fn check(&self, address: u64, memory: &Arc<DeviceMemory>) -> Result<(), MapError> {
        let size = memory.size();
        if !address.is_multiple_of(PAGE_SIZE) {
            return Err(MapError::Misaligned { address });
        }
        let outside = MapError::OutsideWindows { address, size };
        let Some(end) = address.checked_add(size) else {
            return Err(outside);
        };
        let overlaps = |range: &Range<u64>| range.start < end && address < range.end;
        if self.ram.iter().any(overlaps) {
            return Err(MapError::OverlapsRam { address, size });
        }
        let inside = |window: &Range<u64>| window.start <= address && end <= window.end;
        if !self.windows.iter().any(inside) {
            return Err(outside);
        }
        for (&at, mapped) in &self.mappings {
            if Arc::ptr_eq(mapped, memory) {
                return Err(MapError::AlreadyMapped { at });
            }
        }
        // Mappings don't overlap each other, so only the last one that starts before `end` can reach in.
        match self.mappings.range(..end).next_back() {
            Some((&other, mapped)) if address < other + mapped.size() => {
                Err(MapError::OverlapsMapping {
                    address,
                    size,
                    other,
                })
            }
            _ => Ok(()),
        }
    }

    /// Notes a mapping.
    ///
    /// # Errors
    /// As [`check`](Self::check); nothing is noted then.
    pub fn insert(&mut self, address: u64, memory: &Arc<DeviceMemory>) -> Result<(), MapError> {
        self.check(address, memory)?;
        self.mappings.insert(address, Arc::clone(memory));
        Ok(())
    }

    /// Forgets the mapping that starts at this address, and gives its memory back.
    ///
    /// # Errors
    /// [`MapError::NotMapped`].
    pub fn remove(&mut self, address: u64) -> Result<Arc<DeviceMemory>, MapError> {
        self.mappings
            .remove(&address)
            .ok_or(MapError::NotMapped { address })
    }

    /// The memory mapped at a guest-physical address, and the offset of that address in it.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<(&Arc<DeviceMemory>, u64)> {
        let (&at, memory) = self.mappings.range(..=address).next_back()?;
        let offset = address - at;
        (offset < memory.size()).then_some((memory, offset))
    }

    /// All mappings by ascending address.
    pub fn mappings(&self) -> impl Iterator<Item = (u64, &Arc<DeviceMemory>)> {
        self.mappings
            .iter()
            .map(|(&address, memory)| (address, memory))
    }
}

/// What a [`RecordingMapper`] was asked for, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapEvent {
    /// A mapping was made.
    Map {
        /// Guest-physical address.
        address: u64,
        /// Bytes.
        size: u64,
    },
    /// A mapping was refused.
    Refused {
        /// Guest-physical address.
        address: u64,
        /// Bytes.
        size: u64,
    },
    /// A mapping was taken away.
    Unmap {
        /// Guest-physical address.
        address: u64,
    },
}

/// A mapper without a hypervisor: obeys the rules, records what it was asked for, and lets a test read and
/// write device memory as the guest would, by guest-physical address.
#[derive(Debug)]
pub struct RecordingMapper {
    state: Mutex<Recording>,
}

#[derive(Debug)]
struct Recording {
    map: DeviceMemoryMap,
    events: Vec<MapEvent>,
    failing: bool,
}

impl RecordingMapper {
    /// A mapper with these MMIO windows and ranges of RAM.
    #[must_use]
    pub fn new(windows: Vec<Range<u64>>, ram: Vec<Range<u64>>) -> Self {
        Self {
            state: Mutex::new(Recording {
                map: DeviceMemoryMap::new(windows, ram),
                events: Vec::new(),
                failing: false,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recording> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has been asked for since the last call, in order.
    pub fn take_events(&self) -> Vec<MapEvent> {
        std::mem::take(&mut self.lock().events)
    }

    /// Makes the hypervisor refuse (or, with `false`, accept again) every call that the rules allow.
    pub fn set_failing(&self, failing: bool) {
        self.lock().failing = failing;
    }

    /// Writes as the guest does. `false` if the range isn't within one mapping: a write into the void.
    pub fn guest_write(&self, address: u64, bytes: &[u8]) -> bool {
        let state = self.lock();
        state
            .map
            .find(address)
            .is_some_and(|(memory, offset)| memory.write(offset, bytes).is_ok())
    }

    /// Reads as the guest does. `false` if the range isn't within one mapping; `into` is then unchanged.
    pub fn guest_read(&self, address: u64, into: &mut [u8]) -> bool {
        let state = self.lock();
        state
            .map
            .find(address)
            .is_some_and(|(memory, offset)| memory.read(offset, into).is_ok())
    }
}

fn refusal() -> MapError {
    MapError::Hypervisor(io::Error::other("told to refuse"))
}

impl DeviceMemoryMapper for RecordingMapper {
    fn map(&self, guest_address: u64, memory: &Arc<DeviceMemory>) -> Result<(), MapError> {
        let mut state = self.lock();
        let (address, size) = (guest_address, memory.size());
        let result = match state.map.check(address, memory) {
            Ok(()) if state.failing => Err(refusal()),
            Ok(()) => state.map.insert(address, memory),
            Err(error) => Err(error),
        };
        state.events.push(match result {
            Ok(()) => MapEvent::Map { address, size },
            Err(_) => MapEvent::Refused { address, size },
        });
        result
    }

    fn unmap(&self, guest_address: u64) -> Result<(), MapError> {
        let mut state = self.lock();
        if state.failing && state.map.mappings.contains_key(&guest_address) {
            return Err(refusal());
        }
        state.map.remove(guest_address)?;
        state.events.push(MapEvent::Unmap {
            address: guest_address,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const WINDOW: Range<u64> = 0xF800_0000..0xFEC0_0000;

    fn mapper() -> RecordingMapper {
        RecordingMapper::new(
            vec![WINDOW, 1 << 36..1 << 37],
            std::iter::once(0..0x8000_0000).collect(),
        )
    }

    #[test]
    fn sizes_are_checked() {
        for size in [0, 1, 4095, 4097, MOST_DEVICE_MEMORY + PAGE_SIZE, u64::MAX] {
            assert!(DeviceMemory::new(size).is_err(), "{size}");
        }
        let memory = DeviceMemory::new(2 * PAGE_SIZE).unwrap();
        assert_eq!(memory.size(), 8192);
        assert_eq!(memory.host_address().addr().get() % 4096, 0);
    }

    #[test]
    fn copies_are_bounded() {
        let memory = DeviceMemory::new(PAGE_SIZE).unwrap();
        let mut bytes = [0xFF; 4];
        memory.read(4092, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 4], "new memory is zeroed");
        memory.write(4092, &[1, 2, 3, 4]).unwrap();
        memory.read(4092, &mut bytes).unwrap();
        assert_eq!(bytes, [1, 2, 3, 4]);
        memory.read(4096, &mut []).unwrap();
        for offset in [4093, 4096, u64::MAX - 1, u64::MAX] {
            let outside = OutsideDeviceMemory {
                offset,
                length: 4,
                size: 4096,
            };
            assert_eq!(memory.write(offset, &[9; 4]), Err(outside));
            assert_eq!(memory.read(offset, &mut bytes), Err(outside));
        }
    }

    #[test]
    fn the_rules_of_placement() {
        let mapper = mapper();
        let memory = DeviceMemory::new(8 * MIB).unwrap();
        let refused = |address| mapper.map(address, &memory).unwrap_err();
        assert!(matches!(
            refused(WINDOW.start + 1),
            MapError::Misaligned { .. }
        ));
        for address in [
            WINDOW.start - PAGE_SIZE,
            WINDOW.end - 8 * MIB + PAGE_SIZE,
            u64::MAX - PAGE_SIZE + 1,
            (1 << 37) - 4 * MIB,
        ] {
            assert!(matches!(refused(address), MapError::OutsideWindows { .. }));
        }
        for address in [0, 0x7000_0000, 0x8000_0000 - PAGE_SIZE] {
            assert!(matches!(refused(address), MapError::OverlapsRam { .. }));
        }
        mapper.map(WINDOW.start + 8 * MIB, &memory).unwrap();
        assert!(matches!(
            refused(WINDOW.start),
            MapError::AlreadyMapped { at } if at == WINDOW.start + 8 * MIB
        ));
        let other = DeviceMemory::new(8 * MIB).unwrap();
        for address in [PAGE_SIZE, 8 * MIB, 16 * MIB - PAGE_SIZE] {
            let error = mapper.map(WINDOW.start + address, &other).unwrap_err();
            assert!(matches!(
                error,
                MapError::OverlapsMapping { other, .. } if other == WINDOW.start + 8 * MIB
            ));
        }
        mapper.map(WINDOW.start, &other).unwrap();
        mapper.unmap(WINDOW.start).unwrap();
        assert!(matches!(
            mapper.unmap(WINDOW.start),
            Err(MapError::NotMapped { .. })
        ));
        mapper.map(WINDOW.start + 16 * MIB, &other).unwrap();
    }

    #[test]
    fn contents_stay_when_the_mapping_moves() {
        let mapper = mapper();
        let memory = DeviceMemory::new(MIB).unwrap();
        assert!(!mapper.guest_write(WINDOW.start, &[1]));
        mapper.map(WINDOW.start, &memory).unwrap();
        assert!(mapper.guest_write(WINDOW.start + MIB - 2, &[7, 8]));
        assert!(!mapper.guest_write(WINDOW.start + MIB - 1, &[7, 8]));
        mapper.unmap(WINDOW.start).unwrap();
        mapper.map(1 << 36, &memory).unwrap();
        let mut bytes = [0; 2];
        assert!(!mapper.guest_read(WINDOW.start, &mut bytes));
        assert!(mapper.guest_read((1 << 36) + MIB - 2, &mut bytes));
        assert_eq!(bytes, [7, 8]);
        mapper.set_failing(true);
        assert!(matches!(
            mapper.unmap(1 << 36),
            Err(MapError::Hypervisor(_))
        ));
        assert!(
            mapper.guest_read(1 << 36, &mut bytes),
            "the mapping is still there"
        );
        let (address, size) = (WINDOW.start, MIB);
        assert_eq!(
            mapper.take_events(),
            [
                MapEvent::Map { address, size },
                MapEvent::Unmap { address },
                MapEvent::Map {
                    address: 1 << 36,
                    size
                }
            ]
        );
    }
}
