//! Offloads as guests ask for them and turn them on.

use vsc_net::wire::ndis::{
    ChecksumOffload, Encapsulation, FamilyEncapsulation, LargeSendOffload, Offload,
    OffloadEncapsulation, OffloadParameters, checksum_bits, checksum_setting, large_send_v6_bits,
    switch_setting,
};
use vsc_net::wire::nvsp::Version;
use vsc_net::wire::rndis::Status;

use super::settings::OffloadSettings;

/// Bytes of the longest TCP segment that may be left to the host.
pub(super) const MAX_LARGE_SEND: u32 = 0xF53C;
/// Segments that it is to be cut into at least.
const MIN_SEGMENTS: u32 = 2;

impl OffloadSettings {
    /// As the guest is told of them.
    pub(super) fn wire(&self) -> Offload {
        let bits = |tcp: bool, udp: bool, header: u32| {
            let mut bits = header;
            if tcp {
                bits |= checksum_bits::TCP | checksum_bits::TCP_OPTIONS;
            }
            if udp {
                bits |= checksum_bits::UDP;
            }
            if bits != 0 {
                bits |= checksum_bits::IP_OPTIONS;
            }
            ChecksumOffload::new(bits)
        };
        let header = |on: bool| if on { checksum_bits::IP_HEADER } else { 0 };
        let large_send = |on: bool, options: u32| {
            if !on {
                return LargeSendOffload::default();
            }
            LargeSendOffload {
                encapsulation: Encapsulation::ETHERNET.0.into(),
                max_size: MAX_LARGE_SEND.into(),
                min_segments: MIN_SEGMENTS.into(),
                options: options.into(),
            }
        };
        let ipv4 = large_send(self.large_send_ipv4, 0);
        Offload {
            ipv4_transmit: bits(
                self.transmit_tcp_ipv4,
                self.transmit_udp_ipv4,
                header(self.transmit_ipv4),
            ),
            ipv4_receive: bits(
                self.receive_tcp_ipv4,
                self.receive_udp_ipv4,
                header(self.receive_ipv4),
            ),
            ipv6_transmit: bits(self.transmit_tcp_ipv6, self.transmit_udp_ipv6, 0),
            ipv6_receive: bits(self.receive_tcp_ipv6, self.receive_udp_ipv6, 0),
            lso_v1: large_send(self.large_send_v1, 0),
            lso_v2_ipv4: [ipv4.encapsulation, ipv4.max_size, ipv4.min_segments],
            lso_v2_ipv6: large_send(
                self.large_send_ipv6,
                large_send_v6_bits::EXTENSION_HEADERS | large_send_v6_bits::TCP_OPTIONS,
            ),
            ..Offload::none()
        }
    }

    /// Takes what the guest turns on and off. `has_large_send_v1`: whether that is offered.
    pub(super) fn set(
        &mut self,
        parameters: &OffloadParameters,
        has_large_send_v1: bool,
    ) -> Result<(), Status> {
        if parameters.lso_v1 == switch_setting::ON && !has_large_send_v1 {
            return Err(Status::NOT_SUPPORTED);
        }
        let checksum = |setting: u8, transmit: &mut bool, receive: &mut bool| {
            (*transmit, *receive) = match setting {
                checksum_setting::OFF => (false, false),
                checksum_setting::TRANSMIT => (true, false),
                checksum_setting::RECEIVE => (false, true),
                checksum_setting::BOTH => (true, true),
                _ => return,
            };
        };
        let switch = |setting: u8, on: &mut bool| match setting {
            switch_setting::OFF => *on = false,
            switch_setting::ON => *on = true,
            _ => {}
        };
        checksum(
            parameters.ipv4,
            &mut self.transmit_ipv4,
            &mut self.receive_ipv4,
        );
        checksum(
            parameters.tcp_ipv4,
            &mut self.transmit_tcp_ipv4,
            &mut self.receive_tcp_ipv4,
        );
        checksum(
            parameters.udp_ipv4,
            &mut self.transmit_udp_ipv4,
            &mut self.receive_udp_ipv4,
        );
        checksum(
            parameters.tcp_ipv6,
            &mut self.transmit_tcp_ipv6,
            &mut self.receive_tcp_ipv6,
        );
        checksum(
            parameters.udp_ipv6,
            &mut self.transmit_udp_ipv6,
            &mut self.receive_udp_ipv6,
        );
        switch(parameters.lso_v1, &mut self.large_send_v1);
        switch(parameters.lso_v2_ipv4, &mut self.large_send_ipv4);
        switch(parameters.lso_v2_ipv6, &mut self.large_send_ipv6);
        Ok(())
    }

    /// Takes what a guest sets by one of the parameters' names, one digit: bit 0 for what it sends, bit 1 for what it
    /// receives. `None`: no offload has this name.
    pub(super) fn set_by_name(
        &mut self,
        is_named: impl Fn(&str) -> bool,
        digit: u16,
    ) -> Option<Result<(), Status>> {
        let checksum: [(&str, &mut bool, &mut bool); 5] = [
            (
                "*IPChecksumOffloadIPv4",
                &mut self.transmit_ipv4,
                &mut self.receive_ipv4,
            ),
            (
                "*TCPChecksumOffloadIPv4",
                &mut self.transmit_tcp_ipv4,
                &mut self.receive_tcp_ipv4,
            ),
            (
                "*TCPChecksumOffloadIPv6",
                &mut self.transmit_tcp_ipv6,
                &mut self.receive_tcp_ipv6,
            ),
            (
                "*UDPChecksumOffloadIPv4",
                &mut self.transmit_udp_ipv4,
                &mut self.receive_udp_ipv4,
            ),
            (
                "*UDPChecksumOffloadIPv6",
                &mut self.transmit_udp_ipv6,
                &mut self.receive_udp_ipv6,
            ),
        ];
        let value = digit
            .checked_sub(u16::from(b'0'))
            .filter(|value| *value <= 3);
        for (name, transmit, receive) in checksum {
            if is_named(name) {
                return Some(match value {
                    Some(value) => {
                        (*transmit, *receive) = (value & 1 != 0, value & 2 != 0);
                        Ok(())
                    }
                    None => Err(Status::INVALID_DATA),
                });
            }
        }
        for (name, on) in [
            ("*LsoV2IPv4", &mut self.large_send_ipv4),
            ("*LsoV2IPv6", &mut self.large_send_ipv6),
        ] {
            if is_named(name) {
                return Some(match value {
                    Some(value @ (0 | 1)) => {
                        *on = value == 1;
                        Ok(())
                    }
                    _ => Err(Status::INVALID_DATA),
                });
            }
        }
        None
    }
}

/// Revision of the offload structure that guests of a version know.
pub(super) fn revision(version: Version) -> u8 {
    match version {
        Version::V1 | Version::V2 => 1,
        Version::V4 => 2,
        Version::V5 | Version::V6 | Version::V6_1 => 3,
    }
}

/// Whether the encapsulation that a guest sets is the one that offloads are made in.
pub(super) fn check_encapsulation(wanted: &OffloadEncapsulation) -> Result<(), Status> {
    let plain = FamilyEncapsulation::ethernet();
    let is_fine = |family: &FamilyEncapsulation| {
        family.enabled.get() != FamilyEncapsulation::ON || *family == plain
    };
    if is_fine(&wanted.ipv4) && is_fine(&wanted.ipv6) {
        Ok(())
    } else {
        Err(Status::NOT_SUPPORTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // H14, H15
    #[test]
    fn settings_change_as_asked() {
        let mut settings = OffloadSettings::all(false);
        let mut parameters = OffloadParameters::no_change();
        assert_eq!(settings.set(&parameters, false), Ok(()));
        assert_eq!(settings, OffloadSettings::all(false));
        parameters.lso_v1 = switch_setting::ON;
        parameters.tcp_ipv4 = checksum_setting::OFF;
        assert_eq!(settings.set(&parameters, false), Err(Status::NOT_SUPPORTED));
        assert!(settings.transmit_tcp_ipv4, "refused as a whole");
        parameters.lso_v1 = switch_setting::OFF;
        parameters.udp_ipv6 = checksum_setting::RECEIVE;
        parameters.lso_v2_ipv6 = switch_setting::OFF;
        assert_eq!(settings.set(&parameters, false), Ok(()));
        assert!(!settings.transmit_tcp_ipv4 && !settings.receive_tcp_ipv4);
        assert!(!settings.transmit_udp_ipv6 && settings.receive_udp_ipv6);
        let wire = settings.wire();
        assert_eq!(wire.ipv4_transmit.enabled.get(), 0x141);
        assert_eq!(wire.lso_v2_ipv6, LargeSendOffload::default());
        assert_eq!(wire.lso_v2_ipv4.map(|word| word.get()), [2, 0xF53C, 2]);
        assert_eq!(wire.lso_v1, LargeSendOffload::default());
    }
}
