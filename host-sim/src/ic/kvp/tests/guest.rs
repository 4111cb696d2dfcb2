//! A guest that keeps its items in memory.

use ic_services::kvp::wire::Operation;
use ic_services::kvp::wire::exchange::{Delete, Enumerate, Exchange, Record};
use ic_services::wire::{Status, Version};
use zerocopy::FromBytes;

use crate::ic::kvp::{IpInfo, ip};

/// A guest's pools, and what it has been told.
#[derive(Default)]
pub(super) struct Pools {
    pub(super) items: Vec<(u8, Record)>,
    pub(super) adapters: Vec<IpInfo>,
    pub(super) asked: Vec<u8>,
}

impl Pools {
    /// Does what a body says, and answers in its place.
    pub(super) fn act(&mut self, version: Version, body: &mut [u8]) -> Status {
        self.asked.push(body[0]);
        let pool = body[1];
        match Operation(body[0]) {
            Operation::ENUMERATE => {
                assert_eq!(body.len(), 2580);
                let (message, _) = Enumerate::mut_from_prefix(body).unwrap();
                let index = message.index.get() as usize;
                let mut items = self.items.iter().filter(|item| item.0 == pool);
                match items.nth(index) {
                    Some((_, record)) => message.record = *record,
                    None => return Status::NO_MORE_ITEMS,
                }
            }
            Operation::DELETE => {
                assert_eq!(body.len(), 2580);
                let (message, _) = Delete::ref_from_prefix(body).unwrap();
                let key = message.key().unwrap();
                let same = |item: &(u8, Record)| item.0 == pool && item.1.key() == Ok(key);
                let Some(at) = self.items.iter().position(same) else {
                    return Status::NO_MORE_ITEMS;
                };
                self.items.remove(at);
            }
            operation @ (Operation::GET | Operation::SET) => {
                assert_eq!(body.len(), 2580);
                let (message, _) = Exchange::mut_from_prefix(body).unwrap();
                let wanted = message.record;
                let same =
                    |item: &&mut (u8, Record)| item.0 == pool && item.1.key() == wanted.key();
                let found = self.items.iter_mut().find(same);
                match (operation, found) {
                    (Operation::SET, Some((_, record))) => *record = wanted,
                    (Operation::SET, None) => self.items.push((pool, wanted)),
                    (_, Some((_, record))) => message.record = *record,
                    (_, None) => return Status::NO_MORE_ITEMS,
                }
            }
            operation => {
                assert_eq!(body.len(), 7428);
                let binary = version >= Version::new(5, 0);
                let id = if binary { 28 } else { 2 };
                let units: Vec<_> = body[id..id + 80]
                    .chunks(2)
                    .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
                    .take_while(|unit| *unit != 0)
                    .collect();
                let id = String::from_utf16(&units).unwrap();
                if operation == Operation::SET_IP_INFO {
                    if id != "{f8615163-df3e-46c5-913f-f2d2f965ed0e}" {
                        return Status::ADAPTER_NOT_FOUND;
                    }
                    self.adapters.push(ip::decode(body, binary).unwrap());
                } else {
                    if id != "00:15:5D:01:02:03" {
                        return Status::FAIL;
                    }
                    let info = self.adapters.last().cloned().unwrap_or_default();
                    let answer = ip::encode(operation, &id, &info, binary).unwrap();
                    body.copy_from_slice(&answer);
                }
            }
        }
        Status::OK
    }
}
