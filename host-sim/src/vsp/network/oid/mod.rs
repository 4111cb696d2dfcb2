//! What can be asked and set by OID.

mod query;
mod set;

pub(super) use query::query;
pub(super) use set::set;

/// Most multicast addresses that a guest may list.
const MAX_MULTICAST: usize = 32;
