//! IP information there and back, and what guests may say instead.

use proptest::prelude::*;

use super::*;

fn address(text: &str, prefix: u8, origin: Origin) -> AdapterAddress {
    AdapterAddress {
        address: text.parse().unwrap(),
        prefix: Some(prefix),
        origin,
    }
}

fn example() -> IpInfo {
    let addresses = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
    IpInfo {
        v4: true,
        v6: true,
        dhcp_enabled: true,
        addresses: vec![
            address("10.0.0.7", 24, Origin::Static),
            address("192.168.7.1", 20, Origin::Other),
            address("fd00::1234", 64, Origin::Unknown),
        ],
        gateways: addresses(&["10.0.0.1", "fe80::1"]),
        dns_servers: addresses(&["1.1.1.1", "9.9.9.9", "2620:fe::fe"]),
        unreadable: 0,
    }
}

// KV5h
#[test]
fn both_layouts_go_round() {
    for binary in [false, true] {
        let info = example();
        let body = encode(Operation::SET_IP_INFO, "{x}", &info, binary).unwrap();
        assert_eq!(body.len(), 7428);
        assert_eq!(body[0], 5);
        let mut expected = info;
        if !binary {
            for entry in &mut expected.addresses {
                entry.origin = Origin::Unknown;
            }
        }
        assert_eq!(decode(&body, binary).unwrap(), expected);
        let adapter = if binary { 4 + 24 } else { 2 };
        assert_eq!(body[adapter..adapter + 8], *b"{\0x\0}\0\0\0");
    }
}

#[test]
fn adapters_are_named_as_guests_compare_them() {
    assert_eq!(mac_text([0, 0x15, 0x5d, 1, 2, 0xAB]), "00:15:5D:01:02:AB");
    let instance = vmbus_core::class::NETWORK;
    assert_eq!(
        instance_text(instance),
        "{f8615163-df3e-46c5-913f-f2d2f965ed0e}"
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let encode = |info: &IpInfo, binary| encode(Operation::SET_IP_INFO, "{}", info, binary);
    let many = |count: usize| IpInfo {
        gateways: vec!["10.0.0.1".parse().unwrap(); count],
        ..IpInfo::default()
    };
    assert!(encode(&many(5), true).is_ok());
    assert_eq!(
        encode(&many(6), true),
        Err(IpInfoError::TooMany {
            list: "IPv4 gateways",
            count: 6,
            most: 5
        })
    );
    // 9 units each.
    assert!(encode(&many(56), false).is_ok());
    assert!(matches!(
        encode(&many(57), false),
        Err(IpInfoError::Text(_))
    ));
    for (prefix, binary) in [
        (None, false),
        (Some(33), false),
        (None, true),
        (Some(33), true),
    ] {
        let info = IpInfo {
            addresses: vec![AdapterAddress {
                prefix,
                ..address("1.2.3.4", 0, Origin::Static)
            }],
            ..IpInfo::default()
        };
        assert!(matches!(encode(&info, binary), Err(IpInfoError::Prefix(_))));
    }
}

fn answer(addresses: &str, subnets: &str) -> Vec<u8> {
    let mut wire = TextInfo::new(Operation::GET_IP_INFO);
    wire.families = 3;
    text::write(addresses, &mut wire.addresses).unwrap();
    text::write(subnets, &mut wire.subnets).unwrap();
    wire.as_bytes().to_vec()
}

/// As Linux answers: prefixes of IPv6 with a slash.
#[test]
fn linux_answers_are_understood() {
    let body = answer("10.1.2.3;fe80::215:5dff:fe01:203", "255.255.0.0;/64");
    let info = decode(&body, false).unwrap();
    assert_eq!((info.v4, info.v6, info.dhcp_enabled), (true, true, false));
    let prefixes: Vec<_> = info.addresses.iter().map(|entry| entry.prefix).collect();
    assert_eq!(prefixes, [Some(16), Some(64)]);
    assert_eq!(decode(&answer("", ""), false).unwrap().addresses, []);
}

#[test]
fn fault_81_entries_that_are_no_addresses_are_counted() {
    let body = answer("$(id);10.1.2.3;;1.2.3.4`x`", "1;255.0.255.0");
    let info = decode(&body, false).unwrap();
    assert_eq!(info.addresses.len(), 1);
    assert_eq!(info.addresses[0].prefix, None);
    assert_eq!(info.unreadable, 2);
}

#[test]
fn fault_80_fields_without_end_and_short_answers() {
    let mut body = answer("1.1.1.1", "");
    body[2 + 258..2 + 2306].fill(0x31);
    assert_eq!(
        decode(&body, false),
        Err(IpInfoError::Text(TextError::Unterminated))
    );
    for binary in [false, true] {
        assert_eq!(decode(&[0; 100], binary), Err(IpInfoError::Short(100)));
    }
}

// KV6h
#[test]
fn counts_beyond_the_lists_are_refused() {
    let good = encode(Operation::GET_IP_INFO, "", &example(), true).unwrap();
    for (at, count) in [(4, 65), (8, 65), (12, 6), (16, 6), (20, 65), (24, 255)] {
        let mut body = good.clone();
        body[at] = count;
        assert!(
            matches!(decode(&body, true), Err(IpInfoError::Count(_))),
            "{at}"
        );
    }
    // A prefix that is none.
    let mut body = good;
    body[4 + 1820] = 200;
    assert_eq!(decode(&body, true).unwrap().addresses[2].prefix, None);
}

proptest! {
    #[test]
    fn any_answer_is_survived(bytes in proptest::collection::vec(any::<u8>(), 7428), binary: bool) {
        if let Ok(info) = decode(&bytes, binary) {
            prop_assert!(info.addresses.len() <= 1024);
        }
        let mut zeros = bytes;
        // Ends of texts, so that more is read.
        for byte in zeros.iter_mut().step_by(5) {
            *byte = 0;
        }
        let _ = decode(&zeros, binary);
    }
}
