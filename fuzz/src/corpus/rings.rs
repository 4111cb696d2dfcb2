//! Rings with packets of every type, and with every word forged.

use super::writer::Writer;
use crate::ring_consumer::{ATTACH, SCATTERED, SMALL_BUFFER, op};

/// Read everything and commit, accept, or put it back.
const COMMIT: u8 = 0;
const ACCEPT: u8 = 1;
const PUT_BACK: u8 = 2;

pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    vec![
        ("read-in-band".into(), read(0, 0, 0, &[1; 40])),
        ("read-completion".into(), read(SCATTERED, 3, 0, &[2; 64])),
        ("read-gpa-direct".into(), read(0, 2, 5, &gpa_direct())),
        (
            "read-transfer-pages".into(),
            read(0, 1, 4, &transfer_pages()),
        ),
        (
            "read-small-buffer".into(),
            read(SMALL_BUFFER, 0, 0, &[3; 200]),
        ),
        ("read-wrapped".into(), wrapped()),
        ("attach".into(), attach()),
        ("write".into(), write(6)),
        ("write-tiny-ring".into(), write(0)),
        ("write-blocked".into(), blocked()),
        ("forged-indices".into(), forged()),
        ("words".into(), words()),
    ]
}

/// A packet, its type by position, forged right.
fn forge(writer: &mut Writer, kind: u8, extension: u8, body: &[u8]) {
    writer
        .put(&[op::FORGE_PACKET, kind, 1, extension])
        .bytes(body)
        .put(&[0])
        .u64(0x1_0000_0001);
}

fn read(layout: u8, kind: u8, extension: u8, body: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.put(&[layout | 5, op::MASK, 1]);
    for how in [PUT_BACK, ACCEPT, COMMIT] {
        forge(&mut writer, kind, extension, body);
        forge(&mut writer, 0, 0, &[9; 8]);
        writer.put(&[op::READ, 255, how]);
    }
    writer.put(&[op::MASK, 0]).finish()
}

fn gpa_direct() -> Vec<u8> {
    let mut body = Writer::new();
    body.u32(0)
        .u32(1)
        .u32(5000)
        .u32(512)
        .u64(0x1234)
        .u64(0x1235);
    body.put(&[7; 16]).finish()
}

fn transfer_pages() -> Vec<u8> {
    let mut body = Writer::new();
    body.u16(1).u16(1).u32(2);
    body.u32(100).u32(0).u32(200).u32(4096);
    body.put(&[8; 24]).finish()
}

fn wrapped() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.put(&[4]);
    for _ in 0..12 {
        forge(&mut writer, 0, 0, &[4; 60]);
        writer.put(&[op::READ, 255, COMMIT]);
    }
    writer.finish()
}

fn attach() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.put(&[ATTACH | 6]);
    for _ in 0..2 {
        writer.u32(4080).u32(4080);
    }
    forge(&mut writer, 0, 0, &[5; 32]);
    writer.put(&[op::READ, 1, COMMIT]);
    packet(writer.put(&[op::WRITE, 0, 1]), 0, &[]);
    writer.finish()
}

/// A packet to send: kind, ranges as byte count and offset.
fn packet(writer: &mut Writer, kind: u8, ranges: &[(u32, u16)]) {
    writer
        .put(&[kind])
        .u64(77)
        .put(&[1])
        .bytes(&[6; 30])
        .put(&[1]);
    if kind >= 2 {
        writer.u16(3).put(&[ranges.len() as u8]);
        for (count, offset) in ranges {
            writer.u32(*count).u16(*offset).put(&[0]);
        }
    }
}

fn write(layout: u8) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.put(&[layout, op::WRITE, 3, 1]);
    packet(&mut writer, 0, &[]);
    packet(&mut writer, 1, &[]);
    packet(&mut writer, 2, &[(4096, 0), (9000, 100)]);
    packet(&mut writer, 3, &[(60, 0), (1500, 4096)]);
    writer.put(&[op::WRITE, 0, 0]);
    packet(&mut writer, 2, &[(1 << 20, 4095)]);
    writer.finish()
}

fn blocked() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.put(&[4]);
    for _ in 0..6 {
        packet(writer.put(&[op::WRITE, 0, 1]), 0, &[]);
    }
    writer.put(&[op::BLOCK, 0]).u32(136);
    // The peer has read everything.
    writer.put(&[op::CONTROL, 1, 1]).u32(136);
    packet(writer.put(&[op::WRITE, 0, 1]), 0, &[]);
    writer.put(&[op::BLOCK, 1]).finish()
}

fn forged() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.put(&[5]);
    forge(&mut writer, 0, 0, &[1; 16]);
    for (ring, field, value) in [(0, 3, 1), (0, 4, 1), (1, 1, 8), (0, 0, 16)] {
        writer.put(&[op::CONTROL, ring, field]).u32(value);
        writer.put(&[op::READ, 255, COMMIT]);
        packet(writer.put(&[op::WRITE, 0, 1]), 0, &[]);
    }
    writer.finish()
}

fn words() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.put(&[5, op::POKE]).u16(0);
    // Type 6, data offset 2, length 4, no flags.
    writer.bytes(&[6, 0, 2, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    writer.put(&[op::CONTROL, 0, 0]).u32(40);
    writer.put(&[op::READ, 255, COMMIT]).finish()
}
