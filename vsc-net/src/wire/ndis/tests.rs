//! Known sizes, round trips and any bytes.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::*;

#[test]
fn offloads_come_in_three_revisions() {
    let offload = Offload {
        ipv4_transmit: ChecksumOffload::new(checksum_bits::TCP),
        rsc_ipv4: 1,
        ..Offload::none()
    };
    for (revision, size) in [(1, 112), (2, 144), (3, 156), (9, 156)] {
        let (cut, length) = offload.in_revision(revision);
        assert_eq!(length, size);
        let parsed = Offload::parse(&cut.as_bytes()[..length]).unwrap();
        assert_eq!(parsed.ipv4_transmit, offload.ipv4_transmit);
        assert_eq!(parsed.rsc_ipv4, u8::from(size == 156));
        assert!(Offload::parse(&cut.as_bytes()[..length - 1]).is_none());
    }
    let mut other = offload;
    other.header.object_type = 0x80;
    assert!(Offload::parse(other.as_bytes()).is_none());
}

#[test]
fn offload_parameters_of_every_length() {
    let mut parameters = OffloadParameters::no_change();
    parameters.tcp_ipv4 = checksum_setting::BOTH;
    parameters.rsc_ipv6 = switch_setting::ON;
    for size in [20u16, 22, 26, 28] {
        parameters.header.size = size.into();
        let parsed = OffloadParameters::parse(&parameters.as_bytes()[..size.into()]).unwrap();
        assert_eq!(parsed.tcp_ipv4, checksum_setting::BOTH);
        let expected = if size >= 26 { switch_setting::ON } else { 0 };
        assert_eq!(parsed.rsc_ipv6, expected, "{size}");
    }
    for (size, available) in [(19u16, 28usize), (28, 27), (0, 28), (u16::MAX, 28)] {
        parameters.header.size = size.into();
        assert_eq!(
            OffloadParameters::parse(&parameters.as_bytes()[..available]),
            Err(ParameterError::Length { size, available })
        );
    }
    parameters.header = ObjectHeader::new(ObjectType::OFFLOAD, 1, 28);
    assert!(matches!(
        OffloadParameters::parse(parameters.as_bytes()),
        Err(ParameterError::Header(_))
    ));
}

fn table(queues: &[u32]) -> Vec<u8> {
    queues
        .iter()
        .flat_map(|queue| queue.to_le_bytes())
        .collect()
}

#[test]
fn scaling_parameters_keep_their_table_and_key() {
    let (queues, key) = ([0, 1, 2, 3, 0, 1, 2, 3], [7; HASH_KEY_SIZE]);
    let table = table(&queues);
    let parameters = RssParameters {
        flags: RssFlags::empty(),
        hash_information: 0x1701,
        table: Some(&table),
        key: Some(&key),
    };
    let mut bytes = [0; 256];
    let emitted = parameters.emit(&mut bytes).unwrap();
    assert_eq!(emitted.len(), 40 + 32 + 40);
    let parsed = RssParameters::parse(emitted).unwrap();
    assert_eq!(parsed, parameters);
    assert!(parsed.queues().eq(queues));

    let put = |at: usize, value: &[u8]| {
        let mut damaged = bytes;
        damaged[at..at + value.len()].copy_from_slice(value);
        RssParameters::parse(&damaged[..112]).map(|_| ())
    };
    for (at, value) in [
        (12, vec![0, 0]),
        (12, vec![6, 0]),
        (16, vec![0; 4]),
        (16, vec![0xFF; 4]),
        (12, vec![0xFC, 0xFF]),
    ] {
        assert!(
            matches!(put(at, &value), Err(RssError::Table { .. })),
            "{at}"
        );
    }
    for (at, value) in [
        (20, vec![39, 0]),
        (20, vec![41, 0]),
        (24, vec![0xFF; 4]),
        (24, vec![73, 0, 0, 0]),
    ] {
        assert!(matches!(put(at, &value), Err(RssError::Key { .. })), "{at}");
    }
    // With scaling off, garbage does not matter.
    let disabled = put(4, &[0x10, 0]);
    assert_eq!(disabled, Ok(()));
    assert_eq!(put(8, &[0; 4]), Ok(()));
    assert_eq!(
        RssParameters::parse(&bytes[..27]),
        Err(RssError::Length { available: 27 })
    );
}

#[test]
fn addresses_are_twelve_digits() {
    let address = [0x00, 0x15, 0x5D, 0xAB, 0xCD, 0x09];
    let bytes = ConfigParameter::emit_address(address);
    let parameter = ConfigParameter::parse(&bytes).unwrap();
    assert!(parameter.is_named("NetworkAddress") && !parameter.is_named("NetworkAddres"));
    assert_eq!(parameter.address(), Some(address));
    for digit in [b'g', b'-', b' ', 0] {
        let mut damaged = bytes;
        damaged[48] = digit;
        assert_eq!(ConfigParameter::parse(&damaged).unwrap().address(), None);
    }
    for (at, value) in [
        (0, 19u32),
        (4, 29),
        (4, 600),
        (12, 49),
        (16, 23),
        (12, u32::MAX),
        (16, u32::MAX),
    ] {
        let mut damaged = bytes;
        damaged[at..at + 4].copy_from_slice(&value.to_le_bytes());
        assert!(ConfigParameter::parse(&damaged).is_err(), "{value} at {at}");
    }
}

#[test]
fn encapsulations_are_plain_ethernet() {
    let plain = OffloadEncapsulation::ethernet();
    assert_eq!(OffloadEncapsulation::parse(plain.as_bytes()), Some(plain));
    assert_eq!(OffloadEncapsulation::parse(&plain.as_bytes()[..27]), None);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..200)) {
        let _ = Offload::parse(&bytes);
        let _ = OffloadParameters::parse(&bytes);
        let _ = OffloadEncapsulation::parse(&bytes);
        if let Ok(parameters) = RssParameters::parse(&bytes) {
            let _ = parameters.queues().count();
        }
        if let Ok(parameter) = ConfigParameter::parse(&bytes) {
            let _ = (parameter.address(), parameter.value().count());
        }
    }

    #[test]
    fn scaling_survives_the_wire(
        queues in proptest::collection::vec(any::<u32>(), 1..128),
        key: [u8; 32],
        flags: u16,
        hash_information: u32,
    ) {
        let table = table(&queues);
        let mut whole = [0; HASH_KEY_SIZE];
        whole[..32].copy_from_slice(&key);
        let flags = RssFlags::from_bits_retain(flags);
        let mut parameters = RssParameters { flags, hash_information, table: Some(&table), key: Some(&whole) };
        let mut bytes = [0; 1024];
        let emitted = parameters.emit(&mut bytes).unwrap();
        let parsed = RssParameters::parse(emitted).unwrap();
        if parameters.disables() || flags.contains(RssFlags::TABLE_UNCHANGED) {
            parameters.table = None;
        }
        if parameters.disables() || flags.contains(RssFlags::KEY_UNCHANGED) {
            parameters.key = None;
        }
        prop_assert_eq!(parsed, parameters);
    }
}
