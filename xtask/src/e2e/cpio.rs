//! Archives in the `newc` format of `cpio`: what the kernel unpacks at its start.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use crate::run::Error;

const MAGIC: &[u8; 6] = b"070701";
/// The magic and 13 numbers of eight digits.
const HEADER_BYTES: usize = 6 + 13 * 8;
const LAST_NAME: &str = "TRAILER!!!";

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const KIND: u32 = 0o170_000;

/// A file system's tree, to be packed. Everything belongs to root.
#[derive(Clone, Default)]
pub(crate) struct Tree {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone)]
struct Entry {
    mode: u32,
    contents: Vec<u8>,
}

impl Tree {
    /// Adds a folder, and those above it.
    pub(crate) fn folder(&mut self, path: &str) {
        let path = path.trim_matches('/');
        self.parents(path);
        self.entries.entry(path.to_owned()).or_insert(Entry {
            mode: FOLDER | 0o755,
            contents: Vec::new(),
        });
    }

    /// Adds a file that everybody may read and execute, and the folders above it.
    pub(crate) fn file(&mut self, path: &str, contents: impl Into<Vec<u8>>) {
        self.insert(path, FILE | 0o755, contents.into());
    }

    /// Adds a symbolic link, and the folders above it.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.insert(path, LINK | 0o777, target.into());
    }

    /// The same tree below a folder.
    pub(crate) fn below(self, folder: &str) -> Self {
        let mut tree = Self::default();
        tree.add(self, folder);
        tree
    }

    /// Adds all of another tree below a folder; the empty path is the root.
    pub(crate) fn add(&mut self, other: Self, folder: &str) {
        for (path, entry) in other.entries {
            self.insert(&format!("{folder}/{path}"), entry.mode, entry.contents);
        }
    }

    /// Whether the tree has something at a path.
    pub(crate) fn contains(&self, path: &str) -> bool {
        self.entries.contains_key(path.trim_matches('/'))
    }

    fn insert(&mut self, path: &str, mode: u32, contents: Vec<u8>) {
        let path = path.trim_matches('/');
        self.parents(path);
        self.entries
            .insert(path.to_owned(), Entry { mode, contents });
    }

    fn parents(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.folder(parent);
        }
    }

    /// The archive's bytes. Folders come before what is in them: the map's order has it so.
    ///
    /// # Errors
    /// A file of 4 GiB or more, which the format cannot hold.
    pub(crate) fn pack(&self) -> Result<Vec<u8>, Error> {
        let mut archive = Vec::new();
        for (number, (path, entry)) in (1..).zip(&self.entries) {
            append(&mut archive, number, path, entry)?;
        }
        let last = Entry {
            mode: 0,
            contents: Vec::new(),
        };
        append(&mut archive, 0, LAST_NAME, &last)?;
        archive.resize(archive.len().next_multiple_of(512), 0);
        Ok(archive)
    }
}

fn append(archive: &mut Vec<u8>, number: u32, path: &str, entry: &Entry) -> Result<(), Error> {
    let size = u32::try_from(entry.contents.len())
        .map_err(|_| Error::new(format!("{path} is too large for a cpio archive")))?;
    let name_size = u32::try_from(path.len() + 1)
        .map_err(|_| Error::new("a path is too long for a cpio archive"))?;
    archive.extend(MAGIC);
    // Inode, mode, owner, group, links, time, size, two device numbers twice, the name's size, a sum.
    for field in [
        number, entry.mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0,
    ] {
        archive.extend(format!("{field:08x}").bytes());
    }
    archive.extend(path.bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(&entry.contents);
    archive.resize(archive.len().next_multiple_of(4), 0);
    Ok(())
}

/// Writes the files and folders of an archive below a folder. Links and devices are passed over, and so are paths that
/// lead out of the folder: the archive comes out of a machine that may have gone wrong.
///
/// # Errors
/// The archive is damaged, or a file cannot be written.
pub(crate) fn unpack(archive: &[u8], folder: &Path) -> Result<(), Error> {
    let damaged = || Error::new("the cpio archive is damaged");
    let mut rest = archive;
    loop {
        let header = rest.get(..HEADER_BYTES).ok_or_else(damaged)?;
        if !header.starts_with(MAGIC) {
            return Err(damaged());
        }
        let field = |index: usize| {
            let digits = header.get(6 + 8 * index..14 + 8 * index)?;
            usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        };
        let (mode, size, name_size) = (
            field(1).ok_or_else(damaged)?,
            field(6).ok_or_else(damaged)?,
            field(11).ok_or_else(damaged)?,
        );
        let name_end = HEADER_BYTES + name_size;
        let name = rest.get(HEADER_BYTES..name_end).ok_or_else(damaged)?;
        let name = std::str::from_utf8(name).map_err(|_| damaged())?;
        let name = name.trim_end_matches('\0');
        if name == LAST_NAME {
            return Ok(());
        }
        let start = name_end.next_multiple_of(4);
        let contents = rest.get(start..start + size).ok_or_else(damaged)?;
        let stays_inside = Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if stays_inside {
            let path = folder.join(name);
            match u32::try_from(mode).map_err(|_| damaged())? & KIND {
                FOLDER => std::fs::create_dir_all(&path)?,
                FILE => {
                    if let Some(parent) = path.parent() {
                        std::fs::create_dir_all(parent)?;
                    }
                    std::fs::write(&path, contents)?;
                }
                _ => {}
            }
        }
        rest = rest
            .get((start + size).next_multiple_of(4)..)
            .ok_or_else(damaged)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.file("/a/b/file", *b"contents");
        tree.file("a/odd", vec![7; 5]);
        tree.link("a/link", "b/file");
        tree.folder("empty");
        tree
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let archive = tree().pack().unwrap();
        let folder = tempfile::tempdir().unwrap();
        unpack(&archive, folder.path()).unwrap();
        let read = |path: &str| std::fs::read(folder.path().join(path)).unwrap();
        assert_eq!(read("a/b/file"), b"contents");
        assert_eq!(read("a/odd"), [7; 5]);
        assert!(folder.path().join("empty").is_dir());
        assert!(!folder.path().join("a/link").exists());
        // Every archive that is cut short is told to be damaged.
        let end = archive.len() - 512;
        for length in 0..end {
            assert!(unpack(&archive[..length], folder.path()).is_err());
        }
    }

    #[test]
    fn folders_come_first_and_numbers_are_where_the_format_has_them() {
        let archive = tree().pack().unwrap();
        assert_eq!(archive.len() % 512, 0);
        assert_eq!(&archive[..14], b"07070100000001");
        // The first entry is the folder `a`: mode, then its name of two bytes behind the header.
        assert_eq!(&archive[14..22], b"000041ed");
        assert_eq!(&archive[94..102], b"00000002");
        assert_eq!(&archive[110..112], b"a\0");
    }

    #[test]
    fn nothing_is_written_outside() {
        let mut tree = Tree::default();
        tree.entries.insert(
            "../outside".to_owned(),
            Entry {
                mode: FILE | 0o644,
                contents: b"x".to_vec(),
            },
        );
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        unpack(&tree.pack().unwrap(), &inner).unwrap();
        assert!(!folder.path().join("outside").exists());
    }
}
