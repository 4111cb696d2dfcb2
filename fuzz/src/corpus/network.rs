//! Networking: negotiations, OIDs, packets of every shape.

use vsc_net::wire::ndis::{ConfigParameter, OffloadParameters, Oid, RssFlags, RssParameters};
use vsc_net::wire::nvsp::{
    Body, Init, Message, MessageType, NdisConfig, RevokeBuffer, SubChannelRequest, Version,
};
use vsc_net::wire::rndis::{
    LargeSend, PacketHeader, PacketInfo, Reply, Request, Status, TransmitChecksum, VlanTag,
};
use zerocopy::IntoBytes;

use super::writer::Writer;
use crate::net_wire::op as wire_op;
use crate::nvsp_host::op;

fn message<B: Body>(body: &B) -> Vec<u8> {
    Message::full(body).as_bytes().to_vec()
}

fn request(request: &Request<'_>) -> Vec<u8> {
    let mut bytes = [0; 1024];
    request.emit(&mut bytes).expect("room").to_vec()
}

fn set(oid: Oid, information: &[u8]) -> Vec<u8> {
    request(&Request::Set {
        request_id: 7,
        oid,
        information,
    })
}

fn query(oid: Oid) -> Vec<u8> {
    request(&Request::Query {
        request_id: 8,
        oid,
        information: &[0; 8],
    })
}

fn scaling() -> Vec<u8> {
    let mut bytes = [0; 512];
    let parameters = RssParameters {
        flags: RssFlags::empty(),
        hash_information: 0x1701,
        table: Some(&[0, 0, 0, 0, 1, 0, 0, 0]),
        key: Some(&[0x6D; 40]),
    };
    parameters.emit(&mut bytes).expect("room").to_vec()
}

/// A TCP segment in IPv4, whose sender is anybody.
fn frame(payload: usize) -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0, 1, 0x00, 0x15, 0x5D, 1, 2, 3, 8, 0];
    let length = (40 + payload) as u16;
    frame.extend([0x45, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]);
    frame.extend([
        0x10, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0x20, 0, 0, 0, 0, 0,
    ]);
    frame.resize(frame.len() + payload, 0x5A);
    frame
}

fn packet(frame: &[u8], info: &PacketInfo) -> Vec<u8> {
    let mut elements = [0; 128];
    let length = info.emit(&mut elements).expect("room");
    let start = 44 + length as u32;
    let total = start + frame.len() as u32;
    let header = PacketHeader::new(total, length as u32, start, frame.len() as u32);
    [header.as_bytes(), &elements[..length], frame].concat()
}

fn offloaded(payload: usize, send: Option<LargeSend>) -> Vec<u8> {
    let info = PacketInfo {
        checksum: Some(TransmitChecksum::tcp(false, 34).0),
        large_send: send,
        vlan: Some(VlanTag::from_tci(100)),
        ..PacketInfo::default()
    };
    packet(&frame(payload), &info)
}

/// A message in pages of the guest's own.
fn direct(writer: &mut Writer, channel: u8, bytes: &[u8]) {
    writer
        .put(&[op::DIRECT, channel])
        .u16(0)
        .u16(0)
        .long_bytes(bytes);
}

fn section(writer: &mut Writer, bytes: &[u8]) {
    writer
        .put(&[op::SECTION, 0, 0])
        .u16(bytes.len() as u16)
        .long_bytes(bytes);
}

fn in_band(writer: &mut Writer, bytes: &[u8]) {
    writer.put(&[op::NVSP, 0, 1, 9]).bytes(bytes);
}

pub(super) fn host() -> Vec<(String, Vec<u8>)> {
    let start = |choice: u8| Writer::new().put(&[choice]).clone();
    let mut sending = start(0x20);
    section(&mut sending, &offloaded(100, None));
    direct(
        &mut sending,
        0,
        &offloaded(4000, Some(LargeSend::version_2(false, 1000, 34))),
    );
    let mut two = packet(&frame(60), &PacketInfo::default());
    two.resize(two.len().next_multiple_of(8), 0);
    let length = two.len() as u32;
    two[4..8].copy_from_slice(&length.to_le_bytes());
    two.extend(packet(&frame(70), &PacketInfo::default()));
    section(&mut sending, &two);

    let mut capable = start(0xF0);
    direct(
        &mut capable,
        0,
        &offloaded(4000, Some(LargeSend::version_1(1000, 34))),
    );
    section(&mut capable, &offloaded(10, None));

    let mut control = start(0);
    for bytes in [
        query(Oid::GEN_STATISTICS),
        query(Oid::GEN_SUPPORTED_LIST),
        query(Oid::TCP_OFFLOAD_HARDWARE_CAPABILITIES),
        set(
            Oid::TCP_OFFLOAD_PARAMETERS,
            OffloadParameters::no_change().as_bytes(),
        ),
        set(
            Oid::GEN_RNDIS_CONFIG_PARAMETER,
            &ConfigParameter::emit_address([0, 21, 93, 1, 1, 1]),
        ),
        set(Oid::ETHERNET_MULTICAST_LIST, &[1, 0, 0x5E, 0, 0, 1]),
        set(Oid::GEN_CURRENT_PACKET_FILTER, &[0x20, 0, 0, 0]),
        request(&Request::Reset),
        request(&Request::Keepalive { request_id: 5 }),
        request(&Request::Halt { request_id: 6 }),
    ] {
        direct(&mut control, 0, &bytes);
        control.put(&[op::COMPLETE, 0]).u16(1);
    }

    let mut receiving = start(0);
    direct(
        &mut receiving,
        0,
        &set(Oid::GEN_CURRENT_PACKET_FILTER, &[0x20, 0, 0, 0]),
    );
    for _ in 0..4 {
        receiving.put(&[op::DELIVER, 0, 63]).bytes(&frame(100));
        receiving.put(&[op::COMPLETE, 0]).u16(1);
    }
    receiving
        .put(&[op::LINK, 0, 0, op::TIME, 0])
        .u32(20_000_000);
    receiving
        .put(&[op::LINK, 0, 1, op::TIME, 0])
        .u32(20_000_000);

    let mut queues = start(2);
    in_band(
        &mut queues,
        &message(&SubChannelRequest {
            operation: 1.into(),
            count: 2.into(),
        }),
    );
    queues.put(&[op::CHANNELS, 0, op::CHANNELS, 0]);
    direct(
        &mut queues,
        0,
        &set(Oid::GEN_RECEIVE_SCALE_PARAMETERS, &scaling()),
    );
    direct(
        &mut queues,
        0,
        &set(Oid::GEN_CURRENT_PACKET_FILTER, &[0x20, 0, 0, 0]),
    );
    queues.put(&[op::DELIVER, 0, 20]).bytes(&frame(100));
    direct(&mut queues, 1, &packet(&frame(50), &PacketInfo::default()));
    queues.put(&[op::COMPLETE, 1]).u16(0);

    let mut ending = start(1);
    in_band(&mut ending, &message(&RevokeBuffer { id: 0xCAFE.into() }));
    let revoke = Message::full_as(
        MessageType::REVOKE_SEND_BUFFER,
        &RevokeBuffer { id: 0.into() },
    );
    in_band(&mut ending, revoke.as_bytes());
    ending.put(&[op::CLOSE, 0]);

    [
        ("sending", sending),
        ("capable", capable),
        ("control", control),
        ("receiving", receiving),
        ("queues", queues),
        ("ending", ending),
    ]
    .map(|(name, writer)| (name.to_owned(), writer.finish()))
    .to_vec()
}

pub(super) fn wire() -> Vec<(String, Vec<u8>)> {
    let one = |step: u8, list: &[Vec<u8>]| {
        let mut writer = Writer::new();
        for bytes in list {
            writer.put(&[step]).long_bytes(bytes);
        }
        writer.finish()
    };
    let version = Version::V6_1.wire();
    let nvsp = [
        message(&Init {
            min_version: version.into(),
            max_version: version.into(),
        }),
        message(&NdisConfig {
            mtu: 1514.into(),
            reserved: 0.into(),
            capabilities: 0xA8.into(),
        }),
        message(&vsc_net::wire::nvsp::IndirectionTable::new([1; 16])),
    ];
    let reply = |reply: Reply<'_>| {
        let mut bytes = [0; 256];
        reply.emit(&mut bytes).expect("room").to_vec()
    };
    let replies = [
        reply(Reply::InitializeComplete(Default::default())),
        reply(Reply::QueryComplete {
            request_id: 1,
            status: Status::SUCCESS,
            information: &[1, 2, 3, 4],
        }),
        reply(Reply::SetComplete {
            request_id: 1,
            status: Status::SUCCESS,
        }),
        reply(Reply::Indicate {
            status: Status::LINK_SPEED_CHANGE,
            information: &[1, 0, 0, 0],
        }),
    ];
    let structures = [
        scaling(),
        OffloadParameters::no_change().as_bytes().to_vec(),
        ConfigParameter::emit_address([0, 21, 93, 1, 2, 3]).to_vec(),
    ];
    vec![
        ("nvsp".into(), one(wire_op::NVSP, &nvsp)),
        (
            "requests".into(),
            one(
                wire_op::REQUEST,
                &[
                    query(Oid::GEN_LINK_SPEED),
                    set(Oid::GEN_CURRENT_PACKET_FILTER, &[1, 0, 0, 0]),
                ],
            ),
        ),
        ("replies".into(), one(wire_op::REPLY, &replies)),
        (
            "packets".into(),
            one(wire_op::PACKET, &[offloaded(60, Some(LargeSend(5)))]),
        ),
        ("structures".into(), one(wire_op::STRUCTURE, &structures)),
    ]
}
