//! Integration services: negotiations, beats, orders.

use ic_services::wire::{MessageType, SHUTDOWN_TEXT_LENGTH};

use super::writer::Writer;
use crate::ic_guest::op as guest_op;
use crate::ic_host::op as host_op;

const NEGOTIATE: u8 = MessageType::NEGOTIATE.0.get() as u8;
const HEARTBEAT: u8 = MessageType::HEARTBEAT.0.get() as u8;
const SHUTDOWN: u8 = MessageType::SHUTDOWN.0.get() as u8;
/// Position of the flags of a request and of a reply.
const REQUEST: u8 = 0;
const REPLY: u8 = 5;

/// Body of a negotiation: framework versions, service versions.
fn negotiation(frameworks: &[(u16, u16)], versions: &[(u16, u16)]) -> Vec<u8> {
    let mut body = Writer::new();
    body.u16(frameworks.len() as u16)
        .u16(versions.len() as u16)
        .u32(0);
    for (major, minor) in frameworks.iter().chain(versions) {
        body.u16(*major).u16(*minor);
    }
    body.finish()
}

/// What the host offers for every service.
fn offered() -> Vec<u8> {
    negotiation(&[(1, 0), (3, 0)], &[(1, 0), (3, 0), (3, 1)])
}

/// A frame, unchanged.
fn frame(writer: &mut Writer, message_type: u8, flags: u8, body: &[u8]) {
    writer
        .put(&[message_type, flags])
        .long_bytes(body)
        .put(&[0, 0]);
}

fn beat(sequence: u64) -> Vec<u8> {
    Writer::new().u64(sequence).u64(0).finish()
}

/// An order without text.
fn order(flags: u32) -> Vec<u8> {
    Writer::new().u32(0x8000_0000).u32(30).u32(flags).finish()
}

pub(super) fn guest() -> Vec<(String, Vec<u8>)> {
    let step = |step, parts: &[(u8, Vec<u8>)]| {
        let mut writer = Writer::new();
        for (message_type, body) in parts {
            writer.put(&[step]);
            frame(&mut writer, *message_type, REQUEST, body);
        }
        writer.finish()
    };
    let heartbeat = [
        (NEGOTIATE, offered()),
        (HEARTBEAT, beat(1)),
        (HEARTBEAT, beat(u64::MAX)),
        (HEARTBEAT, vec![0; 8]),
        (SHUTDOWN, order(0)),
    ];
    let mut long = order(1);
    long.resize(long.len() + SHUTDOWN_TEXT_LENGTH, b'a');
    let shutdown = [
        (NEGOTIATE, offered()),
        (SHUTDOWN, order(4)),
        (SHUTDOWN, order(8)),
        (SHUTDOWN, long),
        (SHUTDOWN, order(2)),
    ];
    let refused = [
        (NEGOTIATE, negotiation(&[(2, 0)], &[(3, 0)])),
        (NEGOTIATE, negotiation(&[(3, 0); 101], &[(3, 0)])),
        (NEGOTIATE, negotiation(&[], &[])),
        (NEGOTIATE, vec![1, 0]),
        (HEARTBEAT, beat(0)),
    ];
    let mut orders = Writer::new();
    orders.put(&step(guest_op::SHUTDOWN_FRAME, &shutdown));
    orders.put(&[guest_op::ORDER_FAILED]);
    orders.put(&step(guest_op::SHUTDOWN_FRAME, &shutdown[4..]));
    vec![
        (
            "heartbeat".into(),
            step(guest_op::HEARTBEAT_FRAME, &heartbeat),
        ),
        ("shutdown".into(), orders.finish()),
        ("refused".into(), step(guest_op::HEARTBEAT_FRAME, &refused)),
        ("raw".into(), raw()),
        ("channel".into(), channel(&heartbeat)),
    ]
}

fn raw() -> Vec<u8> {
    let mut writer = Writer::new();
    for step in [guest_op::HEARTBEAT_RAW, guest_op::SHUTDOWN_RAW] {
        let body = offered();
        let mut payload = Writer::new();
        payload.u32(1).u32(20 + body.len() as u32);
        payload
            .put(&[0; 10])
            .u16(body.len() as u16)
            .u32(0)
            .put(&[0, 3, 0, 0]);
        payload.put(&body);
        writer.put(&[step]).long_bytes(&payload.finish());
    }
    writer.finish()
}

/// The same over rings, until the outgoing one is full and after that.
fn channel(frames: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new();
    for round in 0..12 {
        for (message_type, body) in frames {
            writer.put(&[guest_op::SEND]);
            frame(&mut writer, *message_type, REQUEST, body);
            writer.u64(round);
        }
        writer.put(&[guest_op::SERVE]);
    }
    // The host reads everything.
    writer.put(&[guest_op::FORGE, 0]).u32(0).put(&[2]);
    writer
        .put(&[guest_op::SERVE, guest_op::FORGE, 0])
        .u32(4)
        .put(&[0]);
    writer.put(&[guest_op::SERVE]).finish()
}

pub(super) fn host() -> Vec<(String, Vec<u8>)> {
    const HEARTBEAT_SERVICE: u8 = 0;
    const SHUTDOWN_SERVICE: u8 = 1;
    let start = |service| {
        let mut writer = Writer::new();
        writer.put(&[service, host_op::WORK]).u16(1);
        writer.put(&[host_op::ANSWER, 0, 0]);
        writer
    };
    let work = |writer: &mut Writer, time| {
        writer.put(&[host_op::WORK]).u16(time);
    };

    let mut beats = start(HEARTBEAT_SERVICE);
    for _ in 0..4 {
        work(&mut beats, 1000);
        beats.put(&[host_op::ANSWER, 0, 0]);
    }
    beats.put(&[host_op::ORDER]).u64(u64::MAX);
    work(&mut beats, 1000);
    beats.put(&[host_op::ANSWER, 28, 0x80]);
    work(&mut beats, 5000);

    let mut orders = start(SHUTDOWN_SERVICE);
    orders
        .put(&[host_op::ORDER, 1, 1])
        .u32(60)
        .bytes(b"maintenance");
    work(&mut orders, 1);
    orders
        .put(&[host_op::ANSWER, 0, 0, host_op::ORDER, 2, 0])
        .u32(0)
        .bytes(b"");
    work(&mut orders, 1);
    orders.put(&[host_op::REOPEN]);
    work(&mut orders, 1);
    orders.put(&[host_op::ANSWER, 24, 1]);

    let mut frames = Writer::new();
    frames.put(&[HEARTBEAT_SERVICE, host_op::WORK]).u16(1);
    let answer = negotiation(&[(3, 0)], &[(3, 0)]);
    for (message_type, body) in [(NEGOTIATE, answer), (HEARTBEAT, beat(1))] {
        frames.put(&[host_op::FRAME]);
        frame(&mut frames, message_type, REPLY, &body);
        work(&mut frames, 1000);
    }
    frames
        .put(&[host_op::RAW, 0])
        .long_bytes(&[1, 0, 0, 0, 20, 0, 0, 0]);
    work(&mut frames, 1);
    frames.put(&[host_op::FORGE]).u32(0).bytes(&[3]);
    work(&mut frames, 1);

    vec![
        ("beats".into(), beats.finish()),
        ("orders".into(), orders.finish()),
        ("frames".into(), frames.finish()),
    ]
}
