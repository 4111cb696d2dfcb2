//! Known bytes and round trips of SCSI commands and replies.

use std::vec::Vec;

use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::*;

#[test]
fn commands_have_their_known_bytes() {
    let encode = |command: Command| {
        let cdb = command.encode().unwrap();
        cdb.bytes()[..usize::from(cdb.length())].to_vec()
    };
    assert_eq!(encode(Command::TestUnitReady), [0; 6]);
    assert_eq!(
        encode(Command::Read(Transfer::new(0x800, 8))),
        [0x28, 0, 0, 0, 8, 0, 0, 0, 8, 0]
    );
    assert_eq!(
        encode(Command::Write(Transfer {
            flags: Transfer::FORCE_UNIT_ACCESS,
            ..Transfer::new(0x1_0000_0000, 1)
        })),
        [0x8A, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]
    );
    assert_eq!(
        encode(Command::ReadCapacity16 {
            allocation_length: 32
        }),
        [0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0]
    );
    assert_eq!(
        encode(Command::ReportLuns {
            select: 0,
            allocation_length: 4096
        }),
        [0xA0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0]
    );
    assert_eq!(
        encode(Command::Inquiry {
            vital_product_data: true,
            command_support_data: false,
            page: VpdPage::DEVICE_IDENTIFICATION,
            allocation_length: 255
        }),
        [0x12, 1, 0x83, 0, 255, 0]
    );
    assert_eq!(
        encode(Command::Unmap {
            anchor: false,
            parameter_length: 24
        }),
        [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0]
    );
    assert_eq!(
        encode(Command::ModeSense {
            form: ModeForm::Six,
            disable_block_descriptors: false,
            page_control: PageControl::Current,
            page: mode_page::CACHING,
            sub_page: 0,
            allocation_length: 64
        }),
        [0x1A, 0, 8, 0, 64, 0]
    );
}

#[test]
fn the_smallest_form_is_chosen_at_its_limits() {
    let form = |lba, blocks| Transfer::new(lba, blocks).form;
    assert_eq!(form(0, 65535), TransferForm::Ten);
    assert_eq!(form(0, 65536), TransferForm::Sixteen);
    assert_eq!(form(0xFFFF_FFFE, 1), TransferForm::Ten);
    assert_eq!(form(0xFFFF_FFFF, 1), TransferForm::Sixteen);
    assert_eq!(form(u64::MAX, u32::MAX), TransferForm::Sixteen);
}

#[test]
fn six_byte_transfers_write_256_as_0() {
    let transfer = Transfer {
        form: TransferForm::Six,
        lba: 0x1F_FFFF,
        blocks: 256,
        flags: 0,
    };
    let cdb = Command::Read(transfer).encode().unwrap();
    assert_eq!(&cdb.bytes()[..6], &[0x08, 0x1F, 0xFF, 0xFF, 0, 0]);
    assert_eq!(Command::parse(cdb.bytes()), Ok(Command::Read(transfer)));
    for (lba, blocks) in [(0x20_0000, 1), (0, 257), (0, 0)] {
        let transfer = Transfer {
            lba,
            blocks,
            ..transfer
        };
        assert!(Command::Write(transfer).encode().is_err());
    }
}

#[test]
fn sense_round_trips_in_the_fixed_format() {
    let sense = Sense::new(
        SenseKey::MEDIUM_ERROR,
        AdditionalSense::UNRECOVERED_READ_ERROR,
    )
    .with_information(0x1234_5678);
    let bytes = sense.to_bytes();
    assert_eq!(
        bytes,
        [
            0xF0, 0, 3, 0x12, 0x34, 0x56, 0x78, 10, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0
        ]
    );
    assert_eq!(Sense::parse(&bytes), Some(sense));
    assert_eq!(
        std::format!("{sense}"),
        "sense 3/11/00 (MEDIUM_ERROR/UNRECOVERED_READ_ERROR)"
    );
    assert_eq!(Sense::parse(&bytes[..2]), None);
    assert_eq!(Sense::parse(&[0; 18]), None);
    assert_eq!(
        Sense::parse(&[0x72, 6, 0x2A, 9]),
        Some(Sense::new(
            SenseKey::UNIT_ATTENTION,
            AdditionalSense::CAPACITY_DATA_CHANGED
        ))
    );
}

#[test]
fn identification_page_holds_both_designators() {
    let disk: [u8; 16] = core::array::from_fn(|i| i as u8 + 0xA0);
    let page = Page83::new(disk);
    let all: Vec<_> = designators(page.as_bytes()).collect();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].designator_type, Designator::VENDOR);
    assert_eq!(&all[0].bytes[..8], b"Msft    ");
    assert_eq!(&all[0].bytes[8..], &disk);
    assert_eq!(all[1].designator_type, Designator::NAA);
    assert_eq!(
        all[1].bytes,
        [
            0x60, 0x02, 0x24, 0x80, 0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xAA, 0xAB, 0xAC, 0xAD,
            0xAE, 0xAF
        ]
    );
    assert_eq!(
        designators(&page.as_bytes()[..40]).count(),
        1,
        "a cut designator is not used"
    );
}

#[test]
fn unit_lists_are_cut_to_the_shorter_length() {
    let mut data = Vec::new();
    data.extend_from_slice(&[0, 0, 0, 24, 0, 0, 0, 0]);
    for lun in [0, 3, 63] {
        data.extend_from_slice(ReportedLun::peripheral(lun).as_bytes());
    }
    let luns = |data: &[u8]| {
        reported_luns(data)
            .unwrap()
            .filter_map(|entry| entry.lun())
            .collect::<Vec<_>>()
    };
    assert_eq!(luns(&data), [0, 3, 63]);
    assert_eq!(luns(&data[..23]), [0]);
    data[3] = 8;
    assert_eq!(luns(&data), [0]);
    assert!(reported_luns(&data[..7]).is_none());
    assert_eq!(
        ReportedLun([0xC1, 1, 0, 0, 0, 0, 0, 0]).lun(),
        None,
        "a well-known unit"
    );
}

#[test]
fn mode_data_is_read_page_by_page() {
    let data = [0x0F, 0, 0x90, 0, 8, 10, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let sense = ModeSense::parse(ModeForm::Six, &data).unwrap();
    assert_eq!(sense.write_cache, Some(true));
    assert_eq!(
        sense.device_parameter,
        DeviceParameter::WRITE_PROTECTED | DeviceParameter::DPO_FUA
    );
    assert_eq!(
        ModeSense::parse(ModeForm::Six, &data[..4])
            .unwrap()
            .write_cache,
        None
    );
    assert_eq!(
        ModeSense::parse(ModeForm::Six, &data[..15]),
        Err(ModeSenseError::Page {
            code: 8,
            length: 10
        })
    );
    assert_eq!(
        ModeSense::parse(ModeForm::Six, &[0, 0, 0, 9, 1, 2]),
        Err(ModeSenseError::BlockDescriptors { length: 9 })
    );
    assert_eq!(
        ModeSense::parse(ModeForm::Ten, &data[..7]),
        Err(ModeSenseError::NoHeader { length: 7 })
    );
}

#[test]
fn inquiry_needs_five_bytes_and_keeps_to_its_length() {
    assert_eq!(InquiryData::parse(&[0; 4]), None);
    let mut data = [b'x'; 36];
    data[..8].copy_from_slice(&[0, 0x80, 5, 2, 5 + 8 - 2, 0, 0, 2]);
    let inquiry = InquiryData::parse(&data).unwrap();
    assert!(inquiry.is_present() && inquiry.is_removable());
    assert_eq!(&inquiry.fields.vendor, b"xxxxxxxx");
    assert_eq!(inquiry.fields.product, [0; 16]);
    data[0] = StandardInquiry::ABSENT;
    assert!(!InquiryData::parse(&data).unwrap().is_present());
}

proptest! {
    #[test]
    fn parsed_commands_encode_to_what_was_parsed(mut cdb in any::<[u8; 16]>(), known in 0usize..42) {
        const OPCODES: [u8; 42] = [
            0x00, 0x03, 0x04, 0x08, 0x0A, 0x12, 0x15, 0x16, 0x17, 0x1A, 0x1B, 0x1D, 0x1E, 0x25,
            0x28, 0x2A, 0x2E, 0x2F, 0x35, 0x41, 0x42, 0x55, 0x56, 0x57, 0x5A, 0x5E, 0x5F, 0x88,
            0x8A, 0x8E, 0x8F, 0x91, 0x93, 0x9E, 0xA0, 0xA8, 0xAA, 0xAE, 0xAF, 0x9E, 0x28, 0x2A,
        ];
        cdb[0] = OPCODES[known];
        if let Ok(command) = Command::parse(&cdb) {
            let encoded = command.encode().unwrap();
            prop_assert_eq!(encoded.opcode().command_length(), Some(encoded.length()));
            prop_assert_eq!(Command::parse(encoded.bytes()), Ok(command));
        }
    }

    #[test]
    fn parsers_take_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
        let _ = Sense::parse(&bytes);
        let _ = InquiryData::parse(&bytes);
        let _ = ModeSense::parse(ModeForm::Six, &bytes);
        let _ = ModeSense::parse(ModeForm::Ten, &bytes);
        let _ = reported_luns(&bytes).map(Iterator::count);
        let _ = parse_capacity_10(&bytes);
        let _ = parse_capacity_16(&bytes);
        let _ = designators(&bytes).count();
        let _ = vpd_body(VpdPage(bytes.first().copied().unwrap_or(0)), &bytes);
        let _ = unmap_descriptors(&bytes).map(|(_, list)| list.count());
    }
}
