//! A picture drawn as programs with a window do: into the frame buffer's mapped memory.
//!
//! Linux 6.1's `hyperv_fb` does not notice what is written to `/dev/fb0`, only what is drawn in its memory, and
//! busybox cannot do that. So the runner itself goes into the guest as a disk and runs there as
//! `linux-guest-tests --draw PICTURE FRAME-BUFFER BYTES`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Error, Read};
use std::num::NonZeroUsize;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// Copies the first bytes of a picture into a frame buffer's memory. The words are its arguments: the two paths, and
/// how many bytes.
///
/// # Errors
/// Other arguments, or files that cannot be read or mapped.
pub fn draw(words: &[OsString]) -> std::io::Result<()> {
    let [picture, frame_buffer, bytes] = words else {
        return Err(Error::other("what to draw, where, and how much of it?"));
    };
    let bytes = bytes.to_str().and_then(|text| text.parse().ok());
    let length: NonZeroUsize = bytes.ok_or_else(|| Error::other("no number of bytes"))?;
    let mut pixels = vec![0; length.get()];
    File::open(picture)?.read_exact(&mut pixels)?;
    let file = File::options().read(true).write(true).open(frame_buffer)?;
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping at a place of the kernel's choice touches no memory that is in use.
    let memory = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, &file, 0)? };
    // SAFETY: the mapping has `length` bytes, which nobody else here knows of, and `pixels` has as many. The device
    // may be smaller: then the process ends with a signal, and nothing else happens.
    unsafe {
        std::ptr::copy_nonoverlapping(pixels.as_ptr(), memory.as_ptr().cast(), length.get());
    }
    // SAFETY: it is the mapping of above, whole, and is not used any more.
    unsafe { munmap(memory, length.get())? };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_ends_up_in_the_file_behind_the_memory() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).into_os_string();
        let picture: Vec<u8> = (0..10_000_u32).map(|number| number as u8).collect();
        std::fs::write(at("picture"), &picture).unwrap();
        std::fs::write(at("buffer"), vec![0; 12_288]).unwrap();
        let words = |bytes: &str| [at("picture"), at("buffer"), bytes.into()];
        draw(&words("9000")).unwrap();
        let drawn = std::fs::read(at("buffer")).unwrap();
        assert_eq!(drawn[..9000], picture[..9000]);
        assert_eq!(drawn[9000..], vec![0; 3288]);
        for bytes in ["10001", "0", "-1", "much"] {
            assert!(draw(&words(bytes)).is_err(), "{bytes}");
        }
        assert!(draw(&[]).is_err());
    }
}
