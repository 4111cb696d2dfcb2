//! The demo's disk: a GUID partition table and a FAT file system with real files.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::run;

const SECTOR: u64 = 512;
const MEBIBYTE: u64 = 1 << 20;

/// Where a partition begins, and how much is kept for the backup table at the disk's end: whole MiB as is usual, and
/// less on disks that have only a few.
const fn margin(mebibytes: u64) -> u64 {
    if mebibytes < 4 { 64 << 10 } else { MEBIBYTE }
}

/// Creates the image at `path`, `mebibytes` MiB long. Files of the project's own tree fill the FAT
/// file system up to a quarter of the disk, so the bytes are real and differ between blocks.
pub(crate) fn create(path: &Path, mebibytes: u64) -> io::Result<()> {
    if mebibytes < 2 {
        return Err(io::Error::other(format!(
            "a disk of {mebibytes} MiB is too small; 2 is the least"
        )));
    }
    let margin = margin(mebibytes);
    let size = mebibytes * MEBIBYTE;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    file.set_len(size)?;
    let length = size - 2 * margin;
    write_partition_table(&file, margin, length)?;

    let mut partition = Partition {
        file,
        start: margin,
        length,
        position: 0,
    };
    let options = fatfs::FormatVolumeOptions::new()
        .volume_label(*b"VIRIDIAN   ")
        .volume_id(0x5649_5249);
    fatfs::format_volume(&mut partition, options)?;
    let volume = fatfs::FileSystem::new(partition, fatfs::FsOptions::new())?;
    let mut budget = size / 4;
    fill(&volume.root_dir(), &run::root(), &mut budget)?;
    volume.unmount()?;
    Ok(())
}

fn write_partition_table(file: &File, start: u64, length: u64) -> io::Result<()> {
    let size = file.metadata()?.len();
    let protective = u32::try_from(size / SECTOR - 1).unwrap_or(u32::MAX);
    gpt::mbr::ProtectiveMBR::with_lb_size(protective)
        .overwrite_lba0(&mut &*file)
        .map_err(|error| io::Error::other(error.to_string()))?;
    let config = gpt::GptConfig::new()
        .writable(true)
        .logical_block_size(gpt::disk::LogicalBlockSize::Lb512);
    let mut disk = config
        .create_from_device(Box::new(file.try_clone()?), None)
        .map_err(|error| io::Error::other(error.to_string()))?;
    disk.add_partition(
        "viridian",
        length,
        gpt::partition_types::BASIC,
        0,
        Some(start / SECTOR),
    )
    .map_err(|error| io::Error::other(error.to_string()))?;
    disk.write()
        .map_err(|error| io::Error::other(error.to_string()))?;
    Ok(())
}

fn fill(directory: &fatfs::Dir<'_, Partition>, from: &Path, budget: &mut u64) -> io::Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(from)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            fill(&directory.create_dir(&name)?, &entry.path(), budget)?;
        } else if metadata.is_file() && metadata.len() < *budget {
            // A file takes at least a cluster and its directory entry.
            *budget -= metadata.len().max(4096);
            let mut source = File::open(entry.path())?;
            io::copy(&mut source, &mut directory.create_file(&name)?)?;
        }
        if *budget < 64 << 10 {
            break;
        }
    }
    Ok(())
}

/// The bytes of the image that belong to the partition.
struct Partition {
    file: File,
    start: u64,
    length: u64,
    position: u64,
}

impl Partition {
    fn room(&mut self, wanted: usize) -> io::Result<usize> {
        self.file
            .seek(SeekFrom::Start(self.start + self.position))?;
        let left = self.length.saturating_sub(self.position);
        Ok(usize::try_from(left).map_or(wanted, |left| left.min(wanted)))
    }
}

impl Read for Partition {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = self.room(buffer.len())?;
        let count = self.file.read(&mut buffer[..room])?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Write for Partition {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let room = self.room(buffer.len())?;
        let count = self.file.write(&buffer[..room])?;
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Partition {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(delta) => self.length.checked_add_signed(delta),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position = position
            .filter(|position| *position <= self.length)
            .ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidInput, "seek outside the partition")
            })?;
        Ok(self.position)
    }
}
