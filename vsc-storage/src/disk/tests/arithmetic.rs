//! Ranges, chunks and the commands chosen for them.

use std::vec::Vec;

use proptest::prelude::*;

use crate::disk::plan::{self, Durability, Fua};
use crate::disk::{Chunk, DiscardLimits, DiskError, DiskInfo, Geometry};
use crate::scsi::{Capacity, Command, TransferForm, unmap_descriptors};

fn geometry(blocks: u64, block_length: u32) -> Geometry {
    Geometry::new(&Capacity {
        last_lba: blocks - 1,
        block_length,
        physical_exponent: 0,
        provisioned: false,
        unmapped_reads_zero: false,
    })
    .unwrap()
}

#[test]
fn g10_transfers_split_at_the_limit_in_whole_blocks() {
    let chunks = |blocks, size, limit, own| {
        geometry(1 << 40, size)
            .chunks(100, blocks, limit, own)
            .unwrap()
            .map(|chunk| (chunk.lba, chunk.blocks, chunk.offset, chunk.bytes))
            .collect::<Vec<_>>()
    };
    assert_eq!(chunks(0, 512, 4096, 0), []);
    assert_eq!(chunks(8, 512, 4096, 0), [(100, 8, 0, 4096)]);
    assert_eq!(
        chunks(17, 512, 4096, 0),
        [(100, 8, 0, 4096), (108, 8, 4096, 4096), (116, 1, 8192, 512)]
    );
    assert_eq!(
        chunks(3, 4096, 8192, 0),
        [(100, 2, 0, 8192), (102, 1, 8192, 4096)]
    );
    assert_eq!(
        chunks(4, 512, 4096, 3),
        [(100, 3, 0, 1536), (103, 1, 1536, 512)],
        "the device's own limit counts too"
    );
    assert!(matches!(
        geometry(100, 4096).chunks(0, 1, 4095, 0),
        Err(DiskError::TransferLimit { .. })
    ));
}

#[test]
fn g25_ranges_are_checked_to_the_last_block() {
    for size in [512, 1024, 2048, 4096] {
        let geometry = geometry(1000, size);
        assert_eq!(geometry.check(999, 1), Ok(()));
        assert_eq!(geometry.check(1000, 0), Ok(()));
        for (lba, blocks) in [(999, 2), (1000, 1), (1001, 0), (u64::MAX, 2), (1, u64::MAX)] {
            assert!(geometry.check(lba, blocks).is_err(), "{lba} {blocks}");
        }
        assert_eq!(geometry.blocks_in(size as usize * 3), Ok(3));
        assert!(geometry.blocks_in(size as usize * 3 + 1).is_err());
    }
}

fn form(lba: u64, blocks: u32) -> TransferForm {
    let chunk = Chunk {
        lba,
        blocks,
        offset: 0,
        bytes: 0,
    };
    match Command::parse(plan::read(&chunk).unwrap().bytes()).unwrap() {
        Command::Read(transfer) => {
            assert_eq!((transfer.lba, transfer.blocks), (lba, blocks));
            transfer.form
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn g26_long_commands_are_used_beyond_32_bits() {
    assert_eq!(form(0, 1), TransferForm::Ten);
    assert_eq!(form(0xFFFF_FFF0, 15), TransferForm::Ten);
    assert_eq!(form(0xFFFF_FFFF, 1), TransferForm::Sixteen);
    assert_eq!(form(1 << 40, 8), TransferForm::Sixteen);
    assert_eq!(form(0, 65536), TransferForm::Sixteen);
}

fn info(write_cache: bool, force_unit_access: bool) -> DiskInfo {
    use crate::disk::{DiskKind, Identity, Text};
    DiskInfo {
        address: crate::queue::Address::default(),
        kind: DiskKind::Disk,
        removable: false,
        vendor: Text::EMPTY,
        product: Text::EMPTY,
        revision: Text::EMPTY,
        serial: None,
        identity: Identity::default(),
        geometry: Some(geometry(1000, 512)),
        read_only: false,
        write_cache,
        force_unit_access,
        discard: None,
        max_transfer_blocks: 0,
        solid_state: true,
    }
}

#[test]
fn g27_durability_follows_the_cache() {
    for (cache, flag, expected) in [
        (false, false, Durability::Plain),
        (false, true, Durability::Plain),
        (true, true, Durability::Flag),
        (true, false, Durability::Flush),
    ] {
        let info = info(cache, flag);
        assert_eq!(plan::durability(&info, Fua::No), Durability::Plain);
        assert_eq!(plan::durability(&info, Fua::Yes), expected);
        assert_eq!(plan::flush(&info).unwrap().is_some(), cache);
    }
    let chunk = Chunk {
        lba: 5,
        blocks: 2,
        offset: 0,
        bytes: 1024,
    };
    for (durability, flag) in [
        (Durability::Plain, false),
        (Durability::Flag, true),
        (Durability::Flush, false),
    ] {
        let cdb = plan::write(&chunk, durability).unwrap();
        let Ok(Command::Write(transfer)) = Command::parse(cdb.bytes()) else {
            panic!("not a write");
        };
        assert_eq!(transfer.force_unit_access(), flag);
    }
}

#[test]
fn unmaps_keep_to_the_limit() {
    let limits = DiscardLimits {
        max_blocks: 100,
        granularity: 1,
        alignment: 0,
        reads_zero: false,
    };
    let ranges: Vec<_> = plan::unmap(&geometry(1000, 512), &limits, 10, 250)
        .unwrap()
        .map(|unmap| {
            let unmap = unmap.unwrap();
            assert_eq!(
                Command::parse(unmap.command.bytes()),
                Ok(Command::Unmap {
                    anchor: false,
                    parameter_length: 24
                })
            );
            let (header, mut list) = unmap_descriptors(&unmap.list).unwrap();
            assert_eq!(
                (header.data_length.get(), header.descriptor_length.get()),
                (22, 16)
            );
            let descriptor = list.next().unwrap();
            (descriptor.lba.get(), descriptor.blocks.get())
        })
        .collect();
    assert_eq!(ranges, [(10, 100), (110, 100), (210, 50)]);
    assert!(plan::unmap(&geometry(1000, 512), &limits, 900, 101).is_err());
}

proptest! {
    #[test]
    fn chunks_cover_the_range_once(
        start in 0u64..1 << 41,
        blocks in 0u64..10_000,
        size in prop_oneof![Just(512u32), Just(4096)],
        limit in 4096u32..1 << 20,
    ) {
        let geometry = geometry(1 << 42, size);
        let (mut lba, mut offset) = (start, 0);
        for chunk in geometry.chunks(start, blocks, limit, 0).unwrap() {
            prop_assert_eq!((chunk.lba, chunk.offset), (lba, offset));
            prop_assert_eq!(chunk.bytes, chunk.blocks * size);
            prop_assert!(chunk.bytes <= limit && chunk.blocks > 0);
            lba += u64::from(chunk.blocks);
            offset += u64::from(chunk.bytes);
        }
        prop_assert_eq!(lba, start + blocks);
    }
}
