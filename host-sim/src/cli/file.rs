//! Files that are read into memory, whatever their size claims to be.

use std::fs::File;
use std::io::{self, Read as _};

/// Most bytes of a kernel or guest. With everything for a debugger, Linux has about one GiB.
pub(super) const MOST_KERNEL: u64 = 2 << 30;

/// Reads a file from where it stands to its end.
///
/// # Errors
/// It has more than `most` bytes, or the host refuses.
pub(super) fn read_to_end(mut file: &File, most: u64) -> io::Result<Vec<u8>> {
    let too_large = |length: u64| {
        io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has {length} bytes, more than {most}"),
        )
    };
    // A sparse file claims any length for nothing.
    let length = file.metadata()?.len();
    if length > most {
        return Err(too_large(length));
    }
    let mut bytes = Vec::new();
    // It may grow meanwhile, or be no regular file.
    let read = file.by_ref().take(most + 1).read_to_end(&mut bytes)? as u64;
    if read > most {
        return Err(too_large(read));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"12345678").unwrap();
        let read = |most| read_to_end(&File::open(&path).unwrap(), most);
        assert_eq!(read(8).unwrap(), b"12345678");
        assert_eq!(read(7).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        // A sparse one takes no room, and is not read.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(
            read(MOST_KERNEL)
                .unwrap_err()
                .to_string()
                .contains("1099511627776 bytes")
        );
        let endless = File::open("/dev/zero").unwrap();
        assert!(read_to_end(&endless, 1 << 20).is_err());
    }
}
