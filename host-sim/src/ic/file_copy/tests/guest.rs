//! A guest that keeps its files in memory.

use std::collections::BTreeMap;

use ic_services::file_copy::wire::{CopyFlags, Operation, Piece, Start};
use ic_services::wire::Status;
use zerocopy::FromBytes;

use super::{COMPLETE, START, WRITE};

/// A guest's files.
#[derive(Default)]
pub(super) struct Files {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// Path, size and content so far of the file that is being copied.
    pub(super) open: Option<(String, u64, Vec<u8>)>,
    pub(super) told: Vec<u32>,
    /// What is refused, and how.
    pub(super) refuses: Option<(u32, Status)>,
}

impl Files {
    pub(super) fn act(&mut self, body: &[u8]) -> Status {
        let operation = u32::from_le_bytes(*body.first_chunk().unwrap());
        self.told.push(operation);
        if let Some((refused, status)) = self.refuses
            && refused == operation
        {
            return status;
        }
        match operation {
            START => {
                assert_eq!(body.len(), 1088);
                let start = Start::ref_from_prefix(body).unwrap().0;
                let path = format!("{}/{}", start.path().unwrap(), start.file_name().unwrap());
                let flags = CopyFlags::from_bits_retain(start.flags.get());
                if self.files.contains_key(&path) && !flags.contains(CopyFlags::OVERWRITE) {
                    return Status::ALREADY_EXISTS;
                }
                if !path.starts_with("/tmp/") && !flags.contains(CopyFlags::CREATE_PATH) {
                    return Status::FAIL;
                }
                self.open = Some((path, start.file_size.get(), Vec::new()));
            }
            WRITE => {
                assert_eq!(body.len(), 6196);
                let Some((_, size, content)) = &mut self.open else {
                    return Status::FAIL;
                };
                let piece = Piece::parse(body).unwrap();
                assert_eq!(piece.offset, content.len() as u64);
                content.extend_from_slice(piece.data);
                assert!(content.len() as u64 <= *size);
            }
            COMPLETE => {
                assert_eq!(body.len(), 36);
                let (path, size, content) = self.open.take().unwrap();
                assert_eq!(content.len() as u64, size);
                self.files.insert(path, content);
            }
            _ => {
                assert_eq!(Operation(operation.into()), Operation::CANCEL);
                assert_eq!(body.len(), 36);
                if self.open.take().is_none() {
                    return Status::FAIL;
                }
            }
        }
        Status::OK
    }
}
