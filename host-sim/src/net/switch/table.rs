//! What a switch has learnt.

use std::collections::HashMap;

use crate::net::mac::MacAddress;

/// Addresses known at once.
const MAX_ENTRIES: usize = 4096;
/// Addresses known behind one port.
const MAX_PER_PORT: usize = 256;
/// Milliseconds after which an address that has not sent is forgotten.
const AGE: u64 = 300_000;

/// A port's number.
pub(super) type PortId = u64;

#[derive(Clone, Copy)]
struct Entry {
    port: PortId,
    seen: u64,
}

/// Which address is behind which port.
#[derive(Default)]
pub(super) struct Table {
    entries: HashMap<(MacAddress, u16), Entry>,
    per_port: HashMap<PortId, usize>,
}

impl Table {
    /// Learns that an address of a VLAN is behind a port. `now` is in milliseconds.
    pub(super) fn learn(&mut self, address: MacAddress, vlan: u16, port: PortId, now: u64) {
        if !address.is_unicast() {
            return;
        }
        if let Some(entry) = self.entries.get_mut(&(address, vlan)) {
            entry.seen = now;
            if entry.port == port {
                return;
            }
            // The guest has moved.
            let old = std::mem::replace(&mut entry.port, port);
            self.count(old, -1);
            self.count(port, 1);
            return;
        }
        let is_full = self.entries.len() >= MAX_ENTRIES
            || self.per_port.get(&port).copied().unwrap_or(0) >= MAX_PER_PORT;
        if is_full {
            self.expire(now);
            if self.entries.len() >= MAX_ENTRIES
                || self.per_port.get(&port).copied().unwrap_or(0) >= MAX_PER_PORT
            {
                // Whoever is not known is reached by flooding.
                return;
            }
        }
        self.entries
            .insert((address, vlan), Entry { port, seen: now });
        self.count(port, 1);
    }

    /// The port behind which an address of a VLAN is.
    pub(super) fn find(&self, address: MacAddress, vlan: u16, now: u64) -> Option<PortId> {
        self.entries
            .get(&(address, vlan))
            .filter(|entry| now.saturating_sub(entry.seen) < AGE)
            .map(|entry| entry.port)
    }

    /// Forgets all that is behind a port.
    pub(super) fn forget(&mut self, port: PortId) {
        self.entries.retain(|_, entry| entry.port != port);
        self.per_port.remove(&port);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn expire(&mut self, now: u64) {
        let per_port = &mut self.per_port;
        self.entries.retain(|_, entry| {
            let keep = now.saturating_sub(entry.seen) < AGE;
            if !keep && let Some(count) = per_port.get_mut(&entry.port) {
                *count = count.saturating_sub(1);
            }
            keep
        });
    }

    fn count(&mut self, port: PortId, by: isize) {
        let count = self.per_port.entry(port).or_default();
        *count = count.saturating_add_signed(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> MacAddress {
        let [a, b, c, d] = number.to_be_bytes();
        MacAddress([0, 0x15, a, b, c, d])
    }

    #[test]
    fn addresses_move_and_age() {
        let mut table = Table::default();
        table.learn(address(1), 0, 7, 0);
        assert_eq!(table.find(address(1), 0, AGE - 1), Some(7));
        assert_eq!(table.find(address(1), 0, AGE), None);
        assert_eq!(table.find(address(1), 5, 0), None, "another VLAN");
        table.learn(address(1), 0, 8, 10);
        assert_eq!(table.find(address(1), 0, 20), Some(8));
        table.forget(8);
        assert_eq!(table.find(address(1), 0, 20), None);
        table.learn(MacAddress::BROADCAST, 0, 7, 0);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_flood_of_addresses_is_bounded() {
        let mut table = Table::default();
        for port in 0..40 {
            for number in 0..1000 {
                table.learn(address(port * 1000 + number), 0, port.into(), 0);
            }
        }
        assert_eq!(table.len(), 16 * MAX_PER_PORT);
        // Room comes with age.
        table.learn(address(999_999), 0, 39, AGE);
        assert_eq!(table.find(address(999_999), 0, AGE), Some(39));
        assert_eq!(table.len(), 1);
    }
}
