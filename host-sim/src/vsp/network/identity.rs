//! What tells adapters apart.

use sha2::{Digest, Sha256};
use vmbus_core::guid::Guid;

/// Synthetic adapters of one machine.
pub const MAX_ADAPTERS: u8 = 8;

/// The instance GUID of a machine's adapter: it follows from the machine's name and the slot, so guests find the same
/// adapter at every start.
#[must_use]
pub fn instance(machine: &str, slot: u8) -> Guid {
    let hash = Sha256::new()
        .chain_update(b"network adapter's instance\0")
        .chain_update(machine)
        .chain_update([0, slot])
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    // A random GUID by its looks (version 4, RFC variant): the fields' order in memory is little-endian.
    bytes[7] = bytes[7] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    Guid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_stable_and_different() {
        let all: std::collections::BTreeSet<_> = (0..MAX_ADAPTERS)
            .flat_map(|slot| ["a", "b"].map(|machine| instance(machine, slot).to_bytes()))
            .collect();
        assert_eq!(all.len(), 16);
        assert_eq!(instance("a", 3), instance("a", 3));
    }
}
