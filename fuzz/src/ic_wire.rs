//! What the integration services' messages say, read from any bytes.

use ic_services::file_copy::wire::{MAX_DATA, Piece, Start};
use ic_services::kvp::wire::binary_info::BinaryInfoBody;
use ic_services::kvp::wire::exchange::{Delete, Enumerate, NewValue, Record, Value};
use ic_services::kvp::wire::text_info::{TextInfo, parse_address, parse_prefix};
use ic_services::text::{self, Text};
use ic_services::time_sync::wire::{
    TimeMessage, from_unix_nanoseconds, least_body, to_unix_nanoseconds,
};
use ic_services::vss::wire::{Freeze, MAX_LUNS};
use ic_services::wire::Version;
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, IntoBytes};

use crate::input::Input;

/// Messages.
pub(crate) mod message {
    pub(crate) const TIME: u8 = 0;
    pub(crate) const ITEM: u8 = 1;
    pub(crate) const DELETE: u8 = 2;
    pub(crate) const TEXT_INFO: u8 = 3;
    pub(crate) const BINARY_INFO: u8 = 4;
    pub(crate) const FREEZE: u8 = 5;
    pub(crate) const START: u8 = 6;
    pub(crate) const PIECE: u8 = 7;
    pub(crate) const COUNT: u8 = 8;
}

/// A message of this size that begins with these bytes.
fn read<T: FromBytes + IntoBytes>(bytes: &[u8]) -> T {
    let mut message = T::new_zeroed();
    for (to, from) in message.as_mut_bytes().iter_mut().zip(bytes) {
        *to = *from;
    }
    message
}

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    while let Some(step) = input.step() {
        let bytes = input.long_bytes();
        match step % message::COUNT {
            message::TIME => time(bytes),
            message::ITEM => item(&read::<Enumerate>(bytes).record),
            message::DELETE => {
                let delete = read::<Delete>(bytes);
                if let Ok(key) = delete.key() {
                    let key = key.to_string();
                    let again = Delete::new(delete.header.pool, &key).expect("it fitted");
                    assert_eq!(again.key().expect("a key").to_string(), key);
                }
            }
            message::TEXT_INFO => text_info(&read(bytes)),
            message::BINARY_INFO => {
                if let Ok(lists) = read::<BinaryInfoBody>(bytes).info.lists() {
                    let addresses = lists.v4_addresses.len() + lists.v6_addresses.len();
                    assert_eq!(lists.origins.len(), addresses);
                }
            }
            message::FREEZE => {
                if let Ok(luns) = read::<Freeze>(bytes).luns() {
                    assert!(luns.len() <= MAX_LUNS);
                }
            }
            message::START => {
                let start = read::<Start>(bytes);
                for name in [start.file_name(), start.path()].into_iter().flatten() {
                    round(name, &mut [U16::ZERO; 260]);
                }
            }
            _ => {
                if let Ok(piece) = Piece::parse(bytes) {
                    assert!(piece.data.len() <= MAX_DATA);
                    assert!(piece.offset.checked_add(piece.data.len() as u64).is_some());
                }
            }
        }
    }
}

fn time(bytes: &[u8]) {
    for version in [Version::new(3, 0), Version::new(4, 0)] {
        let parsed = TimeMessage::parse(version, bytes);
        assert_eq!(parsed.is_ok(), bytes.len() >= least_body(version));
        if let Ok(message) = parsed {
            let nanoseconds = to_unix_nanoseconds(message.parent_time);
            assert_eq!(
                from_unix_nanoseconds(nanoseconds),
                Some(message.parent_time)
            );
        }
    }
}

/// A text that is written again reads the same.
fn round(text: Text<'_>, field: &mut [U16]) {
    let text = text.to_string();
    let size = text::write(&text, field).expect("it fitted");
    let again = Text::sized(field, size).expect("what was written");
    assert_eq!(again.to_string(), text);
}

fn item(record: &Record) {
    let Ok(key) = record.key() else {
        return;
    };
    let mut again = Record::with_key(&key.to_string()).expect("it fitted");
    assert_eq!(again.key(), Ok(key));
    let Ok(value) = record.value() else {
        return;
    };
    let text;
    let new = match value {
        Value::Text(value) => {
            text = value.to_string();
            NewValue::Text(&text)
        }
        Value::ExpandableText(value) => {
            text = value.to_string();
            NewValue::ExpandableText(&text)
        }
        Value::U32(number) => NewValue::U32(number),
        Value::U64(number) => NewValue::U64(number),
    };
    again.set_value(new).expect("it fitted");
    assert_eq!(again.value(), Ok(value));
}

fn text_info(info: &TextInfo) {
    let lists = [
        &info.addresses[..],
        &info.subnets,
        &info.gateways,
        &info.dns_servers,
    ];
    for list in lists {
        let Ok(list) = Text::terminated(list) else {
            continue;
        };
        for entry in list.to_string().split(';') {
            if let Some(address) = parse_address(entry) {
                assert_eq!(parse_address(&address.to_string()), Some(address));
                let prefix = parse_prefix(entry, address);
                assert!(prefix.is_none_or(|prefix| prefix <= 128));
            }
        }
    }
}
