//! Items: get, set, delete, enumerate.

use core::fmt;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Header, Operation, Pool, ValueType};
use crate::text::{self, Text, TextError};

/// Bytes of a key, NUL included.
pub const KEY_SIZE: usize = 512;
/// Bytes of a value; of a text, NUL included.
pub const VALUE_SIZE: usize = 2048;
/// Bytes that hosts send for each of these messages.
pub const PADDED_LENGTH: usize = 2580;

/// A value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Text.
    Text(Text<'a>),
    /// Text with references to the environment.
    ExpandableText(Text<'a>),
    /// A number of 32 bits.
    U32(u32),
    /// A number of 64 bits.
    U64(u64),
}

/// A value to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewValue<'a> {
    /// Text.
    Text(&'a str),
    /// Text with references to the environment.
    ExpandableText(&'a str),
    /// A number of 32 bits.
    U32(u32),
    /// A number of 64 bits.
    U64(u64),
}

/// Why a record holds no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The key.
    Key(TextError),
    /// The key has no characters.
    EmptyKey,
    /// The value's text.
    Value(TextError),
    /// The type is unknown.
    ValueType(u32),
    /// A number of another size than its type's, in bytes.
    NumberSize(u32),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(error) => write!(f, "key: {error}"),
            Self::EmptyKey => f.write_str("empty key"),
            Self::Value(error) => write!(f, "value: {error}"),
            Self::ValueType(value_type) => write!(f, "unknown type {value_type} of a value"),
            Self::NumberSize(size) => write!(f, "number of {size} bytes"),
        }
    }
}

impl core::error::Error for RecordError {}

/// A key and its value. All sizes count bytes.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Record {
    /// What the value is.
    pub value_type: ValueType,
    /// Bytes of the key, NUL included.
    pub key_size: U32,
    /// Bytes of the value; of a text, NUL included.
    pub value_size: U32,
    /// The key.
    pub key: [U16; KEY_SIZE / 2],
    /// The value.
    pub value: [u8; VALUE_SIZE],
}

const _: () = assert!(size_of::<Record>() == 2572);

impl Record {
    /// Nothing at all.
    pub const EMPTY: Self = Self {
        value_type: ValueType(U32::ZERO),
        key_size: U32::ZERO,
        value_size: U32::ZERO,
        key: [U16::ZERO; KEY_SIZE / 2],
        value: [0; VALUE_SIZE],
    };

    /// A key without a value.
    ///
    /// # Errors
    /// [`RecordError`] if the key is empty or does not fit.
    pub fn with_key(key: &str) -> Result<Self, RecordError> {
        if key.is_empty() {
            return Err(RecordError::EmptyKey);
        }
        let mut record = Self::EMPTY;
        record.key_size = text::write(key, &mut record.key)
            .map_err(RecordError::Key)?
            .into();
        record.value_type = ValueType::TEXT;
        Ok(record)
    }

    /// Sets the value.
    ///
    /// # Errors
    /// [`RecordError`] if it does not fit; the record is unchanged then.
    pub fn set_value(&mut self, value: NewValue<'_>) -> Result<(), RecordError> {
        match value {
            NewValue::Text(text) => self.set_text(ValueType::TEXT, text),
            NewValue::ExpandableText(text) => self.set_text(ValueType::EXPANDABLE_TEXT, text),
            NewValue::U32(number) => {
                self.set_number(ValueType::U32, &number.to_le_bytes());
                Ok(())
            }
            NewValue::U64(number) => {
                self.set_number(ValueType::U64, &number.to_le_bytes());
                Ok(())
            }
        }
    }

    fn set_text(&mut self, value_type: ValueType, text: &str) -> Result<(), RecordError> {
        let mut units = [U16::ZERO; VALUE_SIZE / 2];
        self.value_size = text::write(text, &mut units)
            .map_err(RecordError::Value)?
            .into();
        self.value.copy_from_slice(units.as_bytes());
        self.value_type = value_type;
        Ok(())
    }

    fn set_number<const N: usize>(&mut self, value_type: ValueType, bytes: &[u8; N]) {
        self.value = [0; VALUE_SIZE];
        for (to, from) in self.value.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.value_type = value_type;
        self.value_size = (N as u32).into();
    }

    /// The key.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn key(&self) -> Result<Text<'_>, RecordError> {
        let key = Text::sized(&self.key, self.key_size.get()).map_err(RecordError::Key)?;
        if key.is_empty() {
            return Err(RecordError::EmptyKey);
        }
        Ok(key)
    }

    /// The value.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn value(&self) -> Result<Value<'_>, RecordError> {
        let size = self.value_size.get();
        match self.value_type {
            ValueType::TEXT => self.text().map(Value::Text),
            ValueType::EXPANDABLE_TEXT => self.text().map(Value::ExpandableText),
            ValueType::U32 => match (size, self.value.first_chunk()) {
                (4, Some(bytes)) => Ok(Value::U32(u32::from_le_bytes(*bytes))),
                _ => Err(RecordError::NumberSize(size)),
            },
            ValueType::U64 | ValueType::U64_LINUX => match (size, self.value.first_chunk()) {
                (8, Some(bytes)) => Ok(Value::U64(u64::from_le_bytes(*bytes))),
                _ => Err(RecordError::NumberSize(size)),
            },
            ValueType(other) => Err(RecordError::ValueType(other.get())),
        }
    }

    fn text(&self) -> Result<Text<'_>, RecordError> {
        let field = <[U16]>::ref_from_bytes(&self.value).unwrap_or_default();
        Text::sized(field, self.value_size.get()).map_err(RecordError::Value)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("key", &self.key())
            .field("value", &self.value())
            .finish()
    }
}

/// Body of [`Operation::GET`] and [`Operation::SET`].
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Exchange {
    /// The header.
    pub header: Header,
    /// Zero.
    pub reserved: U16,
    /// The item.
    pub record: Record,
}

const _: () = assert!(size_of::<Exchange>() == 2576);

/// Body of [`Operation::ENUMERATE`].
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Enumerate {
    /// The header.
    pub header: Header,
    /// Zero.
    pub reserved: U16,
    /// Number of the item, from 0.
    pub index: U32,
    /// The item, in the answer.
    pub record: Record,
}

const _: () = assert!(size_of::<Enumerate>() == PADDED_LENGTH);

impl Enumerate {
    /// Asks for the item with this number.
    #[must_use]
    pub fn new(pool: Pool, index: u32) -> Self {
        Self {
            header: Header {
                operation: Operation::ENUMERATE,
                pool,
            },
            reserved: U16::ZERO,
            index: index.into(),
            record: Record::EMPTY,
        }
    }
}

/// Body of [`Operation::DELETE`].
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Delete {
    /// The header.
    pub header: Header,
    /// Zero.
    pub reserved: U16,
    /// Bytes of the key, NUL included.
    pub key_size: U32,
    /// The key.
    pub key: [U16; KEY_SIZE / 2],
}

const _: () = assert!(size_of::<Delete>() == 520);

impl Delete {
    /// Asks for the removal of a key.
    ///
    /// # Errors
    /// [`RecordError`] if the key is empty or does not fit.
    pub fn new(pool: Pool, key: &str) -> Result<Self, RecordError> {
        let record = Record::with_key(key)?;
        Ok(Self {
            header: Header {
                operation: Operation::DELETE,
                pool,
            },
            reserved: U16::ZERO,
            key_size: record.key_size,
            key: record.key,
        })
    }

    /// The key.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn key(&self) -> Result<Text<'_>, RecordError> {
        let key = Text::sized(&self.key, self.key_size.get()).map_err(RecordError::Key)?;
        if key.is_empty() {
            return Err(RecordError::EmptyKey);
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};
    use core::mem::offset_of;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_are_where_the_specification_has_them() {
        let at = offset_of!(Exchange, record);
        assert_eq!(at, 4);
        assert_eq!(at + offset_of!(Record, key_size), 8);
        assert_eq!(at + offset_of!(Record, value_size), 12);
        assert_eq!(at + offset_of!(Record, key), 16);
        assert_eq!(at + offset_of!(Record, value), 528);
        assert_eq!(offset_of!(Enumerate, index), 4);
        assert_eq!(offset_of!(Enumerate, record), 8);
        assert_eq!(offset_of!(Delete, key), 8);
    }

    // KV2g
    #[test]
    fn fault_80_sizes_of_keys_and_values() {
        let mut record = Record::with_key("key").unwrap();
        record.set_value(NewValue::Text("value")).unwrap();
        for size in [7, 514, u32::MAX, 6] {
            let mut lie = record;
            lie.key_size = size.into();
            assert!(matches!(lie.key(), Err(RecordError::Key(_))), "{size}");
        }
        record.key_size = 0.into();
        assert_eq!(record.key(), Err(RecordError::EmptyKey));
        for size in [2050, 11, 10, u32::MAX] {
            let mut lie = record;
            lie.value_size = size.into();
            assert!(matches!(lie.value(), Err(RecordError::Value(_))), "{size}");
        }
        let mut full = Record::EMPTY;
        full.key = [U16::new(0x41); 256];
        full.key_size = 512.into();
        assert_eq!(full.key(), Err(RecordError::Key(TextError::Unterminated)));
    }

    #[test]
    fn the_largest_items() {
        let key: String = "k".repeat(255);
        let mut record = Record::with_key(&key).unwrap();
        assert_eq!(record.key_size.get(), 512);
        assert_eq!(record.key().unwrap().to_string(), key);
        assert!(Record::with_key(&"k".repeat(256)).is_err());
        assert_eq!(Record::with_key(""), Err(RecordError::EmptyKey));
        let value: String = "🦀".repeat(511) + "v";
        record.set_value(NewValue::Text(&value)).unwrap();
        assert_eq!(record.value_size.get(), 2048);
        assert!(matches!(record.value(), Ok(Value::Text(text)) if text.to_string() == value));
        let longer = "🦀".repeat(512);
        assert!(record.set_value(NewValue::ExpandableText(&longer)).is_err());
        assert_eq!(record.value_size.get(), 2048);
    }

    // KV3g
    #[test]
    fn numbers_of_all_types() {
        let mut record = Record::with_key("n").unwrap();
        record.set_value(NewValue::U32(7)).unwrap();
        assert_eq!(record.value(), Ok(Value::U32(7)));
        record.value_size = 3.into();
        assert_eq!(record.value(), Err(RecordError::NumberSize(3)));
        record.set_value(NewValue::U64(u64::MAX)).unwrap();
        for value_type in [ValueType::U64, ValueType::U64_LINUX] {
            record.value_type = value_type;
            assert_eq!(record.value(), Ok(Value::U64(u64::MAX)));
        }
        record.value_type = ValueType(9.into());
        assert_eq!(record.value(), Err(RecordError::ValueType(9)));
    }

    proptest! {
        #[test]
        fn items_go_round(key in "[^\0]{1,100}", text in "[^\0]{0,400}") {
            let mut record = Record::with_key(&key).unwrap();
            record.set_value(NewValue::ExpandableText(&text)).unwrap();
            prop_assert_eq!(record.key().unwrap().to_string(), key.clone());
            let Ok(Value::ExpandableText(read)) = record.value() else { panic!() };
            prop_assert_eq!(read.to_string(), text);
            let delete = Delete::new(Pool::GUEST, &key).unwrap();
            prop_assert_eq!(delete.key().unwrap().to_string(), key);
        }

        #[test]
        fn fault_80_any_bytes_are_survived(
            bytes in proptest::collection::vec(any::<u8>(), 2580),
            key_size in 0u32..600,
            value_size in 0u32..2100,
            value_type in 0u32..12,
        ) {
            let mut body = Enumerate::read_from_bytes(&bytes).unwrap();
            let _ = (body.record.key(), body.record.value());
            body.record.key_size = key_size.into();
            body.record.value_size = value_size.into();
            body.record.value_type = ValueType(value_type.into());
            let _ = (body.record.key(), body.record.value());
            let delete = Delete::read_from_prefix(&bytes).unwrap().0;
            let _ = delete.key();
        }
    }
}
