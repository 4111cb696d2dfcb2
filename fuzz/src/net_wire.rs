//! The parsers of network messages, for both ends, against any bytes.

use vsc_net::wire::ndis::{
    ConfigParameter, Offload, OffloadEncapsulation, OffloadParameters, RssParameters,
};
use vsc_net::wire::nvsp::{Message, NdisConfig, ReceiveBufferComplete, RndisPacket, Version};
use vsc_net::wire::rndis::{PacketHeader, PacketInfo, PacketLayout, Reply, Request};

use crate::input::Input;

/// Steps.
pub(crate) mod op {
    pub(crate) const NVSP: u8 = 0;
    pub(crate) const REQUEST: u8 = 1;
    pub(crate) const REPLY: u8 = 2;
    pub(crate) const PACKET: u8 = 3;
    pub(crate) const STRUCTURE: u8 = 4;
    pub(crate) const COUNT: u8 = 5;
}

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    while let Some(step) = input.step() {
        let bytes = input.long_bytes();
        match step % op::COUNT {
            op::NVSP => nvsp(bytes),
            op::REQUEST => {
                if let Ok(request) = Request::parse(bytes) {
                    let mut again = vec![0; bytes.len() + 64];
                    let emitted = request.emit(&mut again).expect("room");
                    assert_eq!(Request::parse(emitted), Ok(request));
                }
            }
            op::REPLY => {
                if let Ok(reply) = Reply::parse(bytes) {
                    let mut again = vec![0; bytes.len() + 64];
                    let emitted = reply.emit(&mut again).expect("room");
                    assert_eq!(Reply::parse(emitted), Ok(reply));
                }
            }
            op::PACKET => packet(bytes),
            _ => structure(bytes),
        }
    }
}

fn nvsp(bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else {
        return assert!(bytes.len() < 4);
    };
    let _ = message.body_as::<NdisConfig>();
    let _ = message.body_as::<ReceiveBufferComplete>();
    let _ = message.body_as::<RndisPacket>();
    for version in Version::ALL_NEWEST_FIRST {
        let _ = message.indirection_table(version);
    }
    assert!(bytes.starts_with(message.as_bytes()));
}

fn packet(bytes: &[u8]) {
    use zerocopy::FromBytes;
    let Ok((header, _)) = PacketHeader::read_from_prefix(bytes) else {
        return;
    };
    let Ok(layout) = PacketLayout::parse(&header, bytes.len() as u32) else {
        return;
    };
    let part = |start: u32, length: u32| {
        let start = start as usize;
        bytes
            .get(start..start + length as usize)
            .expect("within the message")
    };
    let _ = part(layout.data_start, layout.data_length);
    if let Ok(info) = PacketInfo::parse(part(layout.ppi_start, layout.ppi_length)) {
        let mut again = [0; 128];
        let length = info.emit(&mut again).expect("room");
        assert_eq!(PacketInfo::parse(&again[..length]), Ok(info));
    }
}

fn structure(bytes: &[u8]) {
    let _ = Offload::parse(bytes);
    let _ = OffloadEncapsulation::parse(bytes);
    let _ = OffloadParameters::parse(bytes);
    if let Ok(parameters) = RssParameters::parse(bytes) {
        assert!(parameters.queues().count() * 4 <= bytes.len());
    }
    if let Ok(parameter) = ConfigParameter::parse(bytes) {
        assert!(parameter.value().count() * 2 <= bytes.len());
        let _ = parameter.address();
    }
}
