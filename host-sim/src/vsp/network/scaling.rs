//! Which queue a received frame goes to.

use vsc_net::wire::ndis::{HASH_KEY_SIZE, RssFlags, RssParameters, capability_bits, hash_bits};
use vsc_net::wire::rndis::Status;

use super::toeplitz;

/// Entries of the table that guests are told of.
pub(super) const TABLE_ENTRIES: u16 = 128;

/// Capabilities that guests are told of.
pub(super) const CAPABILITIES: u32 = capability_bits::TOEPLITZ
    | capability_bits::TCP_IPV4
    | capability_bits::TCP_IPV6
    | capability_bits::UDP_IPV4
    | capability_bits::UDP_IPV6;

/// Receive-side scaling as the guest has set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scaling {
    key: [u8; HASH_KEY_SIZE],
    /// What is hashed; see [`hash_bits`].
    kinds: u32,
    /// Queues, at least one.
    table: Vec<u16>,
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) queue: u16,
    /// Hash and its kind, if it has one.
    pub(super) hash: Option<(u32, u32)>,
}

impl Scaling {
    /// Takes parameters for an adapter with so many channels; `None` for none at all.
    pub(super) fn set(
        old: Option<&Self>,
        parameters: &RssParameters<'_>,
        channels: u16,
    ) -> Result<Option<Self>, Status> {
        if parameters.disables() {
            return Ok(None);
        }
        if parameters.hash_information & hash_bits::FUNCTION != hash_bits::TOEPLITZ {
            return Err(Status::INVALID_DATA);
        }
        let key = match (parameters.key, old) {
            (Some(key), _) => *key,
            (None, Some(old)) => old.key,
            // Nothing is there that could stay.
            (None, None) => return Err(Status::INVALID_DATA),
        };
        let table = match (parameters.table, old) {
            (Some(_), _) => parameters
                .queues()
                .take(TABLE_ENTRIES.into())
                .map(|queue| u16::try_from(queue).ok().filter(|queue| *queue < channels))
                .collect::<Option<Vec<_>>>()
                .filter(|table| !table.is_empty())
                .ok_or(Status::INVALID_DATA)?,
            (None, Some(old)) => old.table.clone(),
            (None, None) => return Err(Status::INVALID_DATA),
        };
        let kinds = match old {
            Some(old) if parameters.flags.contains(RssFlags::HASH_INFO_UNCHANGED) => old.kinds,
            _ => parameters.hash_information & !hash_bits::FUNCTION,
        };
        Ok(Some(Self { key, kinds, table }))
    }

    /// Where a frame goes.
    pub(super) fn target(&self, frame: &[u8]) -> Target {
        let Some((hash, kind)) = toeplitz::flow(&self.key, self.kinds, frame) else {
            return Target::default();
        };
        let entry = hash as usize % self.table.len();
        Target {
            queue: self.table.get(entry).copied().unwrap_or(0),
            hash: Some((hash, kind | hash_bits::TOEPLITZ)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters<'a>(
        flags: u16,
        table: Option<&'a [u8]>,
        key: Option<&'a [u8; 40]>,
    ) -> RssParameters<'a> {
        RssParameters {
            flags: RssFlags::from_bits_retain(flags),
            hash_information: 0x1701,
            table,
            key,
        }
    }

    // H37
    #[test]
    fn queues_that_do_not_exist_are_refused() {
        let key = [1; 40];
        let table: Vec<u8> = [0u32, 1, 2, 3]
            .iter()
            .flat_map(|queue| queue.to_le_bytes())
            .collect();
        let set =
            |old, parameters: &RssParameters<'_>, channels| Scaling::set(old, parameters, channels);
        let full = parameters(0, Some(&table), Some(&key));
        assert_eq!(set(None, &full, 3), Err(Status::INVALID_DATA));
        let scaling = set(None, &full, 4).unwrap().unwrap();
        assert_eq!(scaling.table, [0, 1, 2, 3]);
        // What stays, stays; where nothing is, nothing can.
        let other = [2; 40];
        let only_key = parameters(4, None, Some(&other));
        let changed = set(Some(&scaling), &only_key, 4).unwrap().unwrap();
        assert_eq!((changed.key, changed.table), (other, scaling.table.clone()));
        assert_eq!(set(None, &only_key, 4), Err(Status::INVALID_DATA));
        assert_eq!(
            set(Some(&scaling), &parameters(0x10, None, None), 4),
            Ok(None)
        );
        let other_function = RssParameters {
            hash_information: 0x1702,
            ..full
        };
        assert_eq!(set(None, &other_function, 4), Err(Status::INVALID_DATA));
        // Frames without IP have no hash and go to the primary channel.
        assert_eq!(scaling.target(&[0; 60]), Target::default());
    }
}
