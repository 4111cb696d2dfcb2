//! Opening `/dev/net/tun` and telling it what is wanted.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use super::vnet_header::VNET_HEADER_SIZE;
use crate::net::backend::BackendError;

/// Most bytes of an interface's name.
const MAX_NAME: usize = libc::IFNAMSIZ - 1;
const DEVICE: &str = "/dev/net/tun";

mod ioctl {
    nix::ioctl_write_int!(set_interface, b'T', 202);
    nix::ioctl_write_int!(set_offload, b'T', 208);
    nix::ioctl_write_ptr!(set_vnet_header_size, b'T', 216, libc::c_int);
    nix::ioctl_write_ptr!(set_vnet_little_endian, b'T', 220, libc::c_int);
}

/// Frames that need a checksum may be read.
const TUN_F_CSUM: libc::c_ulong = 1;

/// Opens the interface; returns it with its name.
pub(super) fn open(name: &str) -> Result<(File, String), BackendError> {
    if name.is_empty()
        || name.len() > MAX_NAME
        || name
            .bytes()
            .any(|byte| matches!(byte, 0 | b'/') || byte.is_ascii_whitespace())
    {
        return Err(BackendError::Missing(format!(
            "{name:?} is no name of a network interface: 1 to {MAX_NAME} bytes without '/' and blanks"
        )));
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(DEVICE)
        .map_err(|error| BackendError::system(DEVICE, error))?;
    // SAFETY: all zeros is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (into, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *into = byte.cast_signed();
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    // The three flags fit 16 bits.
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    let fd = file.as_raw_fd();
    // SAFETY: the descriptor is open, and TUNSETIFF reads and writes one `ifreq`, which lives through the call. Its
    // number is coded as if it took an int.
    let result = unsafe { ioctl::set_interface(fd, (&raw mut request) as libc::c_ulong) };
    result.map_err(|error| explain(name, error.into()))?;
    let size = VNET_HEADER_SIZE as libc::c_int;
    let failed = |what| {
        move |error: nix::errno::Errno| {
            BackendError::system(format!("TAP interface {name}: {what}"), error)
        }
    };
    // SAFETY: the descriptor is open; the kernel reads one int through each pointer, or takes a word.
    unsafe {
        ioctl::set_vnet_header_size(fd, &size).map_err(failed("size of the offload header"))?;
        ioctl::set_vnet_little_endian(fd, &1).map_err(failed("order of the offload header"))?;
        ioctl::set_offload(fd, TUN_F_CSUM).map_err(failed("offloads"))?;
    }
    let name: String = request
        .ifr_name
        .iter()
        .take_while(|byte| **byte != 0)
        .map(|byte| char::from(byte.cast_unsigned()))
        .collect();
    Ok((file, name))
}

/// What the system's refusal means.
fn explain(name: &str, error: io::Error) -> BackendError {
    let what = match error.raw_os_error() {
        Some(libc::EPERM) => format!(
            "no permission for the TAP interface {name}: make it with `ip tuntap add {name} mode tap user $USER vnet_hdr`, or use passt"
        ),
        Some(libc::EBUSY) => format!("the TAP interface {name} is in use"),
        _ => format!("TAP interface {name}"),
    };
    BackendError::system(what, error)
}
