//! Items: a key and its value, in a pool.

use std::fmt;
use std::str::FromStr;

use ic_services::kvp::wire::Pool as WirePool;
use ic_services::kvp::wire::exchange::{NewValue, Record, RecordError, Value as WireValue};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where an item lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// From the host's administrator to the guest.
    External,
    /// From the guest's programs to the host.
    Guest,
    /// What the guest says about itself.
    Auto,
    /// What the host says about itself.
    AutoExternal,
}

impl Pool {
    /// All pools.
    pub const ALL: [Self; 4] = [Self::External, Self::Guest, Self::Auto, Self::AutoExternal];

    /// Whether the host may write into it. Guests make the items of [`Pool::Auto`] themselves and would store
    /// another's where nobody looks.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        !matches!(self, Self::Auto)
    }

    /// The pool's number on the wire.
    #[must_use]
    pub const fn wire(self) -> WirePool {
        match self {
            Self::External => WirePool::EXTERNAL,
            Self::Guest => WirePool::GUEST,
            Self::Auto => WirePool::AUTO,
            Self::AutoExternal => WirePool::AUTO_EXTERNAL,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::Guest => "guest",
            Self::Auto => "auto",
            Self::AutoExternal => "auto-external",
        }
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no pool.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no pool {0:?}: one of external, guest, auto, auto-external")]
pub struct UnknownPool(
    /// The text.
    pub String,
);

impl FromStr for Pool {
    type Err = UnknownPool;

    fn from_str(text: &str) -> Result<Self, UnknownPool> {
        let found = Self::ALL.into_iter().find(|pool| pool.name() == text);
        found.ok_or_else(|| UnknownPool(text.to_owned()))
    }
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// Text of at most 1023 UTF-16 units.
    Text(String),
    /// Text with references to the environment.
    ExpandableText(String),
    /// A number of 32 bits.
    U32(u32),
    /// A number of 64 bits.
    U64(u64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::ExpandableText(text) => f.write_str(text),
            Self::U32(number) => write!(f, "{number}"),
            Self::U64(number) => write!(f, "{number}"),
        }
    }
}

impl From<WireValue<'_>> for Value {
    fn from(value: WireValue<'_>) -> Self {
        match value {
            WireValue::Text(text) => Self::Text(text.to_string()),
            WireValue::ExpandableText(text) => Self::ExpandableText(text.to_string()),
            WireValue::U32(number) => Self::U32(number),
            WireValue::U64(number) => Self::U64(number),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// The record of an item.
pub(super) fn to_record(key: &str, value: &Value) -> Result<Record, RecordError> {
    let mut record = Record::with_key(key)?;
    record.set_value(match value {
        Value::Text(text) => NewValue::Text(text),
        Value::ExpandableText(text) => NewValue::ExpandableText(text),
        Value::U32(number) => NewValue::U32(*number),
        Value::U64(number) => NewValue::U64(*number),
    })?;
    Ok(record)
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The key; what a guest says may contain any character but NUL.
    pub key: String,
    /// The value.
    pub value: Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_have_names() {
        for pool in Pool::ALL {
            assert_eq!(pool.to_string().parse(), Ok(pool));
            assert_eq!(pool.is_writable(), pool != Pool::Auto);
        }
        assert!("auto-internal".parse::<Pool>().is_err());
    }

    #[test]
    fn values_go_round() {
        for value in [
            Value::from("ü🦀"),
            Value::ExpandableText("%PATH%".into()),
            Value::U32(7),
            Value::U64(u64::MAX),
        ] {
            let record = to_record("key", &value).unwrap();
            assert_eq!(Value::from(record.value().unwrap()), value);
        }
        assert_eq!(to_record("", &Value::U32(0)), Err(RecordError::EmptyKey));
    }
}
