//! Integration services with requests of the host's: time, items, backups, files; and their messages.

use ic_services::file_copy::wire::{
    CopyFlags, Header as CopyHeader, Operation, Start, WriteHeader,
};
use ic_services::kvp::wire::binary_info::{BinaryInfo, BinaryInfoBody, Origin};
use ic_services::kvp::wire::exchange::{Delete, Enumerate, NewValue, Record};
use ic_services::kvp::wire::text_info::TextInfo;
use ic_services::kvp::wire::{Operation as KvpOperation, Pool};
use ic_services::text;
use ic_services::time_sync::wire::{TimeFlags, TimeMessage, UNIX_EPOCH};
use ic_services::vss::wire::{Freeze, FreezeFlags, Lun, Operation as VssOperation};
use ic_services::wire::Status;
use zerocopy::IntoBytes;

use super::writer::Writer;
use crate::ic_host::{op, service};
use crate::ic_wire::message;

/// A service whose guest has negotiated.
fn start(service: u8) -> Writer {
    let mut writer = Writer::new();
    writer.put(&[service]);
    work(&mut writer, 1);
    answer(&mut writer);
    work(&mut writer, 1);
    writer
}

fn work(writer: &mut Writer, time: u16) {
    writer.put(&[op::WORK]).u16(time);
}

fn answer(writer: &mut Writer) {
    writer.put(&[op::ANSWER, 0, 0]);
}

/// An answer with other bytes at a position of its body.
fn answer_with(writer: &mut Writer, at: u16, bytes: &[u8], status: Status) {
    writer.put(&[op::ANSWER_BODY]).u16(at).bytes(bytes);
    writer.u32(status.0.get());
    work(writer, 20);
}

/// A record's sizes, type and first bytes of its key, as far as they fit.
fn key(record: &Record) -> Vec<u8> {
    record.as_bytes()[..64].to_vec()
}

pub(super) fn hosts() -> Vec<(String, Vec<u8>)> {
    vec![
        ("time".into(), time()),
        ("items".into(), items()),
        ("addresses".into(), addresses()),
        ("backup".into(), backup()),
        ("file".into(), file()),
        ("late".into(), late()),
    ]
}

fn time() -> Vec<u8> {
    let mut writer = start(service::TIME_SYNC);
    answer(&mut writer);
    writer.put(&[op::ORDER, 2]).u64(UNIX_EPOCH);
    work(&mut writer, 1000);
    answer_with(&mut writer, 0, &[], Status::FAIL);
    writer.put(&[op::ORDER, 0]);
    work(&mut writer, 1);
    answer(&mut writer);
    writer.put(&[op::ORDER, 1]).u64(i64::MIN as u64);
    work(&mut writer, 1000);
    work(&mut writer, 60_000);
    writer.put(&[op::REOPEN]);
    work(&mut writer, 1);
    writer.finish()
}

fn items() -> Vec<u8> {
    let mut writer = start(service::KVP);
    // The host's own item.
    answer(&mut writer);
    writer.put(&[op::ORDER, 0, 0]).bytes("schlüssel".as_bytes());
    writer.put(&[0]).bytes("🦀".as_bytes());
    work(&mut writer, 1);
    answer(&mut writer);
    writer.put(&[op::ORDER, 0, 1]).bytes(b"n").put(&[2]).u32(7);
    writer.put(&[op::ORDER, 1, 0]).bytes(b"k");
    work(&mut writer, 1);
    answer(&mut writer);
    answer_with(&mut writer, 0, &[], Status::NO_MORE_ITEMS);
    writer.put(&[op::ORDER, 2, 0]).bytes(b"k");
    work(&mut writer, 1);
    let mut record = Record::with_key("k").expect("it fits");
    record.set_value(NewValue::U32(7)).expect("it fits");
    answer_with(&mut writer, 4, &key(&record), Status::OK);
    writer
        .put(&[op::ORDER, 4, 2, op::ORDER, 3, 1])
        .bytes(b"OSName");
    work(&mut writer, 20);
    for name in ["OSName", "OSVersion"] {
        let record = Record::with_key(name).expect("it fits");
        answer_with(&mut writer, 8, &key(&record), Status::OK);
    }
    answer_with(&mut writer, 0, &[], Status::NO_MORE_ITEMS);
    let record = Record::with_key("OSName").expect("it fits");
    answer_with(&mut writer, 8, &key(&record), Status::OK);
    writer.finish()
}

fn addresses() -> Vec<u8> {
    let mut writer = start(service::KVP);
    answer(&mut writer);
    writer.put(&[op::ORDER, 5, 0, 0, 0x15, 0x5d, 1, 2, 3]);
    work(&mut writer, 1);
    let mut counts = Vec::new();
    for count in [2u32, 1, 1, 1, 1, 1] {
        counts.extend(count.to_le_bytes());
    }
    answer_with(&mut writer, 4, &counts, Status::OK);
    writer
        .put(&[op::ORDER, 6, 0])
        .put(&[0xFE; 16])
        .put(&[64, 3]);
    writer.put(&[10, 0, 0, 1, 2]);
    work(&mut writer, 1);
    answer_with(&mut writer, 0, &[], Status::ADAPTER_NOT_FOUND);
    writer.finish()
}

fn backup() -> Vec<u8> {
    let freeze = |writer: &mut Writer| {
        writer.put(&[op::ORDER, 3]).u32(0).put(&[1, 0]).u16(3);
        work(writer, 1);
    };
    let mut writer = start(service::VSS);
    writer.put(&[op::ORDER, 0]);
    work(&mut writer, 1);
    answer_with(&mut writer, 8, &[1, 0, 0, 0], Status::OK);
    freeze(&mut writer);
    answer(&mut writer);
    writer.put(&[op::ORDER, 6]).u64(100).put(&[op::ORDER, 4]);
    work(&mut writer, 1);
    answer(&mut writer);
    writer.put(&[op::ORDER, 5]).u32(0).put(&[1, 0]).u16(1);
    work(&mut writer, 1);
    freeze(&mut writer);
    answer_with(&mut writer, 0, &[], Status::FAIL);
    answer(&mut writer);
    // Frozen for too long, then gone.
    freeze(&mut writer);
    answer(&mut writer);
    work(&mut writer, 30_000);
    answer_with(&mut writer, 0, &[], Status::FAIL);
    writer.put(&[op::REOPEN]);
    work(&mut writer, 1);
    answer(&mut writer);
    work(&mut writer, 1);
    answer(&mut writer);
    writer.finish()
}

fn file() -> Vec<u8> {
    const FILE_COPY: u8 = service::COUNT - 1;
    let begin = |writer: &mut Writer, size| {
        writer.put(&[op::ORDER, 0]).bytes(b"/tmp").bytes(b"f");
        writer.u64(size).put(&[1, 1]);
        work(writer, 1);
        answer(writer);
    };
    let mut writer = start(FILE_COPY);
    begin(&mut writer, 6149);
    for size in [6144, 5] {
        writer.put(&[op::ORDER, 1]).u16(size);
        work(&mut writer, 1);
        answer(&mut writer);
    }
    writer.put(&[op::ORDER, 2]);
    work(&mut writer, 1);
    answer(&mut writer);
    begin(&mut writer, 10);
    writer.put(&[op::ORDER, 1]).u16(5);
    work(&mut writer, 1);
    answer_with(&mut writer, 0, &[], Status::DISK_FULL);
    answer(&mut writer);
    begin(&mut writer, 10);
    writer.put(&[op::ORDER, 3]);
    work(&mut writer, 1);
    answer(&mut writer);
    begin(&mut writer, 10);
    writer.put(&[op::ORDER, 4]);
    work(&mut writer, 1);
    writer.finish()
}

/// Answers after the host has given up.
fn late() -> Vec<u8> {
    let mut writer = start(service::KVP);
    answer(&mut writer);
    for _ in 0..2 {
        writer.put(&[op::ORDER, 2, 0]).bytes(b"k");
        work(&mut writer, 1);
        work(&mut writer, 30_000);
        // The late one, the negotiation, the host's item.
        for _ in 0..3 {
            answer(&mut writer);
        }
    }
    writer.finish()
}

pub(super) fn messages() -> Vec<(String, Vec<u8>)> {
    let one = |kind, bytes: &[u8]| Writer::new().put(&[kind]).long_bytes(bytes).finish();
    let told = TimeMessage {
        parent_time: UNIX_EPOCH,
        reference_time: Some(5),
        flags: TimeFlags::SYNC,
    };
    let mut enumerate = Enumerate::new(Pool::GUEST, 3);
    enumerate.record = Record::with_key("schlüssel").expect("it fits");
    let value = NewValue::ExpandableText("%PATH%🦀");
    enumerate.record.set_value(value).expect("it fits");
    let delete = Delete::new(Pool::GUEST, "k").expect("it fits");
    let mut text_info = TextInfo::new(KvpOperation::GET_IP_INFO);
    text::write("10.0.0.7;fe80::1", &mut text_info.addresses).expect("it fits");
    text::write("255.255.0.0;/64", &mut text_info.subnets).expect("it fits");
    let mut info = BinaryInfo {
        v4_address_count: 1.into(),
        v6_gateway_count: 5.into(),
        ..BinaryInfo::EMPTY
    };
    info.origins[0] = Origin::STATIC;
    let binary = BinaryInfoBody::new(KvpOperation::GET_IP_INFO, info);
    let flags = FreezeFlags::AUTO_RECOVERY;
    let freeze = Freeze::new(VssOperation::FREEZE, 1, flags, &[Lun::NONE; 2]);
    let begin = Start::new("f", "/tmp", CopyFlags::OVERWRITE, 9).expect("it fits");
    let piece = WriteHeader {
        header: CopyHeader::new(Operation::WRITE),
        padding: 0.into(),
        offset: 5.into(),
        size: 4.into(),
    };
    let piece = [piece.as_bytes(), b"data"].concat();
    vec![
        (
            "time".into(),
            one(message::TIME, told.to_time_body().as_bytes()),
        ),
        (
            "reference-time".into(),
            one(message::TIME, told.to_reference_time_body().as_bytes()),
        ),
        // The values are zeros but for their first bytes.
        (
            "item".into(),
            one(message::ITEM, &enumerate.as_bytes()[..600]),
        ),
        (
            "delete".into(),
            one(message::DELETE, &delete.as_bytes()[..20]),
        ),
        (
            "text-info".into(),
            one(message::TEXT_INFO, &text_info.as_bytes()[..2400]),
        ),
        (
            "binary-info".into(),
            one(message::BINARY_INFO, &binary.as_bytes()[..400]),
        ),
        (
            "freeze".into(),
            one(message::FREEZE, &freeze.expect("few").as_bytes()[..80]),
        ),
        ("start".into(), one(message::START, begin.as_bytes())),
        ("piece".into(), one(message::PIECE, &piece)),
    ]
}
