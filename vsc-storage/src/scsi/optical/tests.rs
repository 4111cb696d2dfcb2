//! Known bytes of commands, and addresses.

use super::*;

fn parse(bytes: &[u8]) -> Option<OpticalCommand> {
    let mut cdb = [0; 16];
    cdb[..bytes.len()].copy_from_slice(bytes);
    OpticalCommand::parse(&cdb)
}

#[test]
fn commands_are_read_from_their_bytes() {
    use OpticalCommand as C;
    let length = 0x0102;
    for (bytes, expected) in [
        (
            &[0x43, 2, 0, 0, 0, 0, 3, 1, 2, 0][..],
            C::ReadToc {
                msf: true,
                format: 0,
                track: 3,
                allocation_length: length,
            },
        ),
        (
            &[0x43, 0, 0, 0, 0, 0, 0, 1, 2, 0x40],
            C::ReadToc {
                msf: false,
                format: 1,
                track: 0,
                allocation_length: length,
            },
        ),
        (
            &[0x43, 0, 5, 0, 0, 0, 0, 1, 2, 0x40],
            C::ReadToc {
                msf: false,
                format: 5,
                track: 0,
                allocation_length: length,
            },
        ),
        (
            &[0x46, 0xFE, 1, 7, 0, 0, 0, 1, 2, 0],
            C::GetConfiguration {
                request: 2,
                feature: 0x0107,
                allocation_length: length,
            },
        ),
        (
            &[0x4A, 1, 0, 0, 0x10, 0, 0, 1, 2, 0],
            C::GetEventStatus {
                polled: true,
                classes: 0x10,
                allocation_length: length,
            },
        ),
        (
            &[0x51, 1, 0, 0, 0, 0, 0, 1, 2, 0],
            C::ReadDiscInformation {
                data_type: 1,
                allocation_length: length,
            },
        ),
        (
            &[0x52, 1, 0, 0, 0, 9, 0, 1, 2, 0],
            C::ReadTrackInformation {
                address_type: 1,
                address: 9,
                allocation_length: length,
            },
        ),
        (
            &[0x5C, 0, 0, 0, 0, 0, 0, 1, 2, 0],
            C::ReadBufferCapacity {
                allocation_length: length,
            },
        ),
        (
            &[0xAC, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0],
            C::GetPerformance {
                data_type: 3,
                descriptors: length,
            },
        ),
        (
            &[0xAD, 0, 0, 0, 0, 0, 1, 4, 1, 2, 0, 0],
            C::ReadDvdStructure {
                format: 4,
                layer: 1,
                allocation_length: length,
            },
        ),
        (
            &[0xB6, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0],
            C::SetStreaming {
                parameter_length: length,
            },
        ),
        (
            &[0xBD, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0],
            C::MechanismStatus {
                allocation_length: length,
            },
        ),
    ] {
        let command = parse(bytes).unwrap();
        assert_eq!(command, expected);
        assert_eq!(command.sends_data(), bytes[0] == 0xB6);
    }
    for other in [0x00, 0x28, 0x2A, 0xA8, 0xBE, 0xFF] {
        assert_eq!(parse(&[other]), None);
    }
}

#[test]
fn addresses_in_minutes() {
    assert_eq!(msf(0), [0, 0, 2, 0]);
    assert_eq!(msf(75 * 60 * 4 + 74 - 150), [0, 4, 0, 74]);
    assert_eq!(msf(255 * 4500 + 4499 - 150), [0, 255, 59, 74]);
    assert_eq!(msf(u32::MAX), [0, 255, 59, 74]);
}
