//! Encodings against the specification's vectors, and round trips.

use super::*;
use proptest::prelude::*;
use std::string::ToString;
use std::vec::Vec;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};

#[test]
fn control_values_of_the_specification() {
    assert_eq!(SignalEvent::CONTROL.bits(), 0x1005D);
    assert_eq!(PostMessage::CONTROL.bits(), 0x5C);
    let two_banks = Control::new(CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE_EX).with_variable_words(2);
    assert_eq!(two_banks.unwrap().bits(), 0x13 | 2 << 17);
    let five = Control::new(CallCode::FLUSH_VIRTUAL_ADDRESS_LIST).with_rep(5, 0);
    assert_eq!(five.unwrap().bits(), 0x3 | 5 << 32);
    assert_eq!(CallResult::new(Status::SUCCESS, 5).bits(), 5 << 32);
}

#[test]
fn counts_that_do_not_fit_are_refused() {
    let control = Control::new(CallCode::FLUSH_VIRTUAL_ADDRESS_LIST);
    assert!(control.with_rep(4095, 4094).is_some());
    assert_eq!(control.with_rep(4096, 0), None);
    assert_eq!(control.with_rep(4, 4), None);
    assert_eq!(control.with_rep(0, 0), None);
    assert!(control.with_variable_words(1023).is_some());
    assert_eq!(control.with_variable_words(1024), None);
}

#[test]
fn fault_43_rep_count_and_start_are_checked() {
    let check = |bits, kind| Control::from_bits(bits).check(kind);
    let rep = |count: u64, start: u64| 0x3 | count << 32 | start << 48;
    assert_eq!(check(rep(5, 4), CallKind::Rep), Ok(()));
    assert_eq!(
        check(rep(5, 5), CallKind::Rep),
        Err(ControlError::RepStart { start: 5, count: 5 })
    );
    assert_eq!(
        check(rep(0, 0), CallKind::Rep),
        Err(ControlError::RepCount { count: 0 })
    );
    assert_eq!(
        check(rep(1, 0), CallKind::Simple),
        Err(ControlError::RepCount { count: 1 })
    );
    assert_eq!(
        check(rep(0, 1), CallKind::Simple),
        Err(ControlError::RepStart { start: 1, count: 0 })
    );
    assert_eq!(
        check(0x5C | 1 << 17, CallKind::Simple),
        Err(ControlError::VariableHeader { words: 1 })
    );
    assert_eq!(check(0x13 | 1 << 17, CallKind::Variable), Ok(()));
}

#[test]
fn fault_44_no_control_value_is_taken_for_a_known_call_by_mistake() {
    for code in 0..=u16::MAX {
        for fast in [false, true] {
            let mut control = Control::new(CallCode(code));
            if fast {
                control = control.with_fast();
            }
            let parsed = Control::from_bits(control.bits());
            assert_eq!(parsed.code(), CallCode(code));
            assert_eq!(parsed.is_fast(), fast);
            let kind = parsed.code().kind();
            assert_eq!(kind.is_some(), parsed.code().name().is_some());
            if let Some(kind) = kind {
                assert_eq!(parsed.check(kind).is_ok(), !kind.is_rep());
            }
        }
    }
}

#[test]
fn every_reserved_bit_is_refused() {
    let reserved: Vec<u32> = (27..31).chain(44..48).chain(60..64).collect();
    for bit in 0..64 {
        let result = Control::from_bits(0x5D | 1 << bit).check(CallKind::Simple);
        if reserved.contains(&bit) {
            assert_eq!(result, Err(ControlError::Reserved { bits: 1 << bit }));
        } else if bit == 31 {
            assert_eq!(result, Err(ControlError::Nested));
        }
        if let Err(error) = result {
            assert_eq!(error.status(), Status::INVALID_HYPERCALL_INPUT);
            assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn signal_event_lies_in_its_register() {
    let input = SignalEvent::new(0x00AB_CDEF, 0x1234);
    assert_eq!(input.to_register(), 0x0000_1234_00AB_CDEF);
    assert_eq!(SignalEvent::from_register(input.to_register()), input);
    let reserved = SignalEvent::from_register(0xFFFF << 48);
    assert_eq!(reserved.reserved.get(), 0xFFFF);
}

#[test]
fn post_message_lies_in_its_block() {
    let input = PostMessage::new(0x010203, MessageType::VMBUS, b"hello").unwrap();
    let bytes = input.as_bytes();
    assert_eq!(&bytes[..4], [3, 2, 1, 0]);
    assert_eq!(&bytes[4..8], [0; 4]);
    assert_eq!(&bytes[8..12], [1, 0, 0, 0]);
    assert_eq!(&bytes[12..16], [5, 0, 0, 0]);
    assert_eq!(&bytes[16..21], b"hello");
    assert_eq!(input.check(), Ok(&b"hello"[..]));
}

#[test]
fn messages_that_the_hypervisor_refuses_are_not_built() {
    let error = |id, message_type, size: usize| {
        PostMessage::new(id, MessageType(message_type), &[0; 300][..size]).unwrap_err()
    };
    assert_eq!(error(1, 1, 241), MessageError::PayloadSize { size: 241 });
    assert_eq!(
        error(1, 0, 0),
        MessageError::Type {
            message_type: MessageType::NONE
        }
    );
    assert_eq!(error(1, 1 << 31, 0).status(), Status::INVALID_PARAMETER);
    assert_eq!(error(1 << 24, 1, 0).status(), Status::INVALID_CONNECTION_ID);
    assert!(PostMessage::new(CONNECTION_ID_MAX, MessageType::VMBUS, &[0; 240]).is_ok());
}

#[test]
fn a_block_from_a_lying_guest_is_checked() {
    let mut block = [0u8; 256];
    block[8] = 1;
    block[12..16].copy_from_slice(&241u32.to_le_bytes());
    let input = PostMessage::read_from_bytes(&block).unwrap();
    assert_eq!(input.check(), Err(MessageError::PayloadSize { size: 241 }));
    block[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    let input = PostMessage::read_from_bytes(&block).unwrap();
    assert_eq!(
        input.check().unwrap_err().status(),
        Status::INVALID_PARAMETER
    );
}

#[test]
fn ipi_and_spin_wait_lie_in_their_registers() {
    let ipi = SendSyntheticClusterIpi::new(0xF3, 0b101);
    assert_eq!(SendSyntheticClusterIpi::CONTROL.bits(), 0x1000B);
    assert_eq!(ipi.to_registers(), [0xF3, 0b101]);
    assert_eq!(SendSyntheticClusterIpi::from_registers([0xF3, 5]), ipi);
    assert_eq!(NotifyLongSpinWait::CONTROL.bits(), 0x10008);
    assert_eq!(NotifyLongSpinWait::new(77).to_register(), 77);
}

#[test]
fn flush_input_lies_in_its_block() {
    let input = FlushVirtualAddressSpace::new(
        0x1234_5FFF,
        FlushFlags::ALL_PROCESSORS | FlushFlags::NON_GLOBAL_MAPPINGS_ONLY,
        0x7,
    );
    let words: Vec<u64> = input
        .as_bytes()
        .chunks(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
        .collect();
    assert_eq!(words, [0x1234_5000, 5, 7]);
    assert_eq!(FlushFlags::from_bits_retain(1 << 40).bits(), 1 << 40);
}

#[test]
fn address_ranges_count_their_additional_pages() {
    assert_eq!(GvaRange::new(0x7000, 1).unwrap().0.get(), 0x7000);
    assert_eq!(GvaRange::new(0x7FFF, 3).unwrap().0.get(), 0x7002);
    assert_eq!(GvaRange::new(0, 4096).unwrap().pages(), 4096);
    assert_eq!(GvaRange::new(0, 0), None);
    assert_eq!(GvaRange::new(0, 4097), None);
}

#[test]
fn register_header_names_the_target() {
    let header = VpRegistersHeader::from(RegisterTarget::SELF);
    let mut expected = [0xFF; 16];
    expected[8..].copy_from_slice(&[0xFE, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]);
    assert_eq!(header.as_bytes(), expected);
    assert_eq!(header.target(), RegisterTarget::SELF);
    let other = RegisterTarget {
        vtl: Some(2),
        vp_index: 3,
        ..RegisterTarget::SELF
    };
    let header = VpRegistersHeader::from(other);
    assert_eq!(header.target_vtl, 0x12);
    assert_eq!(header.target(), other);
    let assignment = RegisterAssignment::new(RegisterName::SIMP, RegisterValue::from_u64(9));
    assert_eq!(&assignment.as_bytes()[..4], 0xA0013u32.to_le_bytes());
    assert_eq!(assignment.as_bytes()[16], 9);
    assert_eq!(RegisterValue::from_u64(u64::MAX).as_u64(), u64::MAX);
}

#[test]
fn the_banks_of_a_set_follow_its_mask() {
    let mut set = SparseSet::new();
    for vp in [0, 63, 130] {
        set.insert(vp).unwrap();
    }
    assert_eq!(
        set.insert(VP_INDEX_LIMIT),
        Err(VpSetError::IndexTooLarge { vp_index: 4096 })
    );
    let set = ProcessorSet::Sparse(set);
    assert_eq!(set.header().valid_bank_mask.get(), 0b101);
    assert_eq!(set.variable_words(), 2);
    let mut bytes = [0; 16];
    assert_eq!(set.emit_banks(&mut bytes), Ok(16));
    assert_eq!(bytes[..8], (1u64 << 63 | 1).to_le_bytes());
    assert_eq!(bytes[8..], 4u64.to_le_bytes());
    assert_eq!(
        set.emit_banks(&mut bytes[..15]),
        Err(VpSetError::BufferTooSmall {
            needed: 16,
            available: 15
        })
    );
}

#[test]
fn sets_that_lie_about_their_banks_are_refused() {
    let header = |format, mask| VpSetHeader {
        format: U64::new(format),
        valid_bank_mask: U64::new(mask),
    };
    let banks = [U64::new(1); 2];
    assert_eq!(
        ProcessorSet::parse(&header(0, 0b111), &banks),
        Err(VpSetError::BankCount {
            announced: 3,
            present: 2
        })
    );
    assert_eq!(
        ProcessorSet::parse(&header(2, 0b11), &banks),
        Err(VpSetError::Format { format: 2 })
    );
    assert_eq!(
        ProcessorSet::parse(&header(1, 0), &[]),
        Ok(ProcessorSet::All)
    );
    assert!(ProcessorSet::parse(&header(0, 0), &[]).unwrap().is_empty());
}

#[test]
fn names_are_told_and_unknown_codes_survive() {
    assert_eq!(
        Status::INVALID_CONNECTION_ID.to_string(),
        "INVALID_CONNECTION_ID (0x12)"
    );
    assert_eq!(Status(0x1234).to_string(), "status 0x1234");
    assert_eq!(CallCode::POST_MESSAGE.to_string(), "PostMessage (0x005c)");
    assert_eq!(CallCode(0x7777).to_string(), "call 0x7777");
    assert!(CallCode::EXT_QUERY_CAPABILITIES.is_extended());
    assert!(!CallCode::POST_MESSAGE.is_extended());
    assert_eq!(Status(0x1234).into_result(), Err(Status(0x1234)));
}

proptest! {
    #[test]
    fn a_result_is_masked_to_its_documented_bits(bits: u64) {
        let result = CallResult::from_bits(bits);
        prop_assert_eq!(u64::from(result.status().0), bits & 0xFFFF);
        prop_assert_eq!(u64::from(result.completed()), bits >> 32 & 0xFFF);
        prop_assert_eq!(CallResult::from_bits(result.bits()), result);
    }

    #[test]
    fn control_round_trips(code: u16, fast: bool, words in 0u16..1024, count in 1u16..4096, start: u16) {
        let start = start % count;
        let mut control = Control::new(CallCode(code));
        if fast {
            control = control.with_fast();
        }
        let control = control.with_variable_words(words).unwrap().with_rep(count, start).unwrap();
        let parsed = Control::from_bits(control.bits());
        prop_assert_eq!(parsed.code(), CallCode(code));
        prop_assert_eq!(parsed.is_fast(), fast);
        prop_assert_eq!(parsed.variable_words(), words);
        prop_assert_eq!((parsed.rep_count(), parsed.rep_start()), (count, start));
        prop_assert_eq!(parsed.check(CallKind::RepVariable), Ok(()));
    }

    #[test]
    fn checking_any_control_value_ends(bits: u64) {
        for kind in [CallKind::Simple, CallKind::Variable, CallKind::Rep, CallKind::RepVariable] {
            let control = Control::from_bits(bits);
            if control.check(kind).is_ok() {
                prop_assert_eq!(kind.is_rep(), control.rep_count() > 0);
                prop_assert!(control.rep_start() == 0 || control.rep_start() < control.rep_count());
            }
        }
    }

    #[test]
    fn sets_round_trip(vps in proptest::collection::btree_set(0..VP_INDEX_LIMIT, 0..200)) {
        let mut set = SparseSet::new();
        for vp in &vps {
            set.insert(*vp).unwrap();
        }
        prop_assert!(set.iter().eq(vps.iter().copied()));
        prop_assert!(vps.iter().all(|vp| set.contains(*vp)));
        let set = ProcessorSet::Sparse(set);
        let mut bytes = [0; 512];
        let length = set.emit_banks(&mut bytes).unwrap();
        let banks = <[U64]>::ref_from_bytes(&bytes[..length]).unwrap();
        prop_assert_eq!(banks.len(), usize::from(set.variable_words()));
        prop_assert_eq!(ProcessorSet::parse(&set.header(), banks).unwrap(), set);
    }

    #[test]
    fn messages_round_trip(id in 0..=CONNECTION_ID_MAX, kind in 1u32..1 << 31, payload in proptest::collection::vec(any::<u8>(), 0..=240)) {
        let message = PostMessage::new(id, MessageType(kind), &payload).unwrap();
        let read = PostMessage::read_from_bytes(message.as_bytes()).unwrap();
        prop_assert_eq!(read.check().unwrap(), &payload[..]);
        prop_assert_eq!(read.connection_id, U32::new(id));
        prop_assert_eq!(read.message_type(), MessageType(kind));
    }
}
