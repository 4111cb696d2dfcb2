//! Walks through the items of a pool by number.

use ic_services::kvp::wire::exchange::{Enumerate, Record};
use serde::Serialize;
use zerocopy::{FromBytes, IntoBytes};

use super::item::{Item, Pool, Value};
use crate::ic::request::SECOND;

/// Most items of a pool that are asked for.
pub const MAX_ITEMS: u32 = 1024;

/// Longest that a walk takes after its first answer, in 100 ns units. A guest that answers each request just in time
/// would otherwise keep whoever asked for eleven hours.
pub(super) const WALK_TIMEOUT: u64 = 120 * SECOND;

/// Why a walk came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The guest said that there are no more.
    Complete,
    /// An answer held no sound key.
    Malformed,
    /// The guest gave the same item again.
    Repeated,
    /// There may be more than [`MAX_ITEMS`].
    Limit,
}

/// The items of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// The items, in the guest's order.
    pub items: Vec<Item>,
    /// Items whose value could not be read.
    pub unreadable: u32,
    /// Why there are no more.
    pub end: End,
}

/// A walk under way.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) pool: Pool,
    /// The key that is looked for; the walk ends when it is found.
    wanted: Option<String>,
    next: u32,
    items: Vec<Item>,
    unreadable: u32,
    /// Number and record of the last answer.
    last: Option<(u32, Box<Record>)>,
    /// When it is given up, however quickly the guest answers; known from the first answer on.
    ends_at: Option<u64>,
}

/// How a walk goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Next,
    Found(Value),
    End(End),
}

impl Walk {
    pub(super) fn new(pool: Pool, wanted: Option<String>) -> Self {
        Self {
            pool,
            wanted,
            next: 0,
            items: Vec::new(),
            unreadable: 0,
            last: None,
            ends_at: None,
        }
    }

    /// How much longer it may take at `now`, in 100 ns units; `None` if it has taken [`WALK_TIMEOUT`].
    pub(super) fn time_left(&mut self, now: u64) -> Option<u64> {
        let ends_at = *self.ends_at.get_or_insert(now.saturating_add(WALK_TIMEOUT));
        ends_at.checked_sub(now).filter(|left| *left > 0)
    }

    /// The body of the next request.
    pub(super) fn request(&self) -> Vec<u8> {
        Enumerate::new(self.pool.wire(), self.next)
            .as_bytes()
            .to_vec()
    }

    /// Takes the body of an answer; `None` if it is too short.
    pub(super) fn answer(&mut self, body: &[u8]) -> Option<Step> {
        let (answer, _) = Enumerate::ref_from_prefix(body).ok()?;
        let (index, record) = (answer.index.get(), &answer.record);
        let same = self.last.as_ref();
        if same.is_some_and(|(last, item)| *last == index && item.key() == record.key()) {
            return Some(Step::End(End::Repeated));
        }
        let Ok(key) = record.key() else {
            return Some(Step::End(End::Malformed));
        };
        let (key, value) = (key.to_string(), record.value().map(Value::from));
        let found = self.wanted.as_ref() == Some(&key);
        match value {
            Ok(value) if found => return Some(Step::Found(value)),
            Ok(value) if self.wanted.is_none() => self.items.push(Item { key, value }),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "unreadable value");
                self.unreadable += 1;
            }
        }
        self.last = Some((index, Box::new(*record)));
        self.next += 1;
        Some(if self.next == MAX_ITEMS {
            Step::End(End::Limit)
        } else {
            Step::Next
        })
    }

    /// What has been found.
    pub(super) fn into_listing(self, end: End) -> Listing {
        Listing {
            items: self.items,
            unreadable: self.unreadable,
            end,
        }
    }
}
