//! Sockets: loopback addresses and Unix sockets only, for there is no authentication.

use std::fmt;
use std::fs::Permissions;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A loopback address and a port; port 0 for any that is free. Every user of the machine can connect.
    Tcp(SocketAddr),
    /// A Unix socket that only its owner can connect to. The file must not exist; it is removed at the end.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// The text is no place to listen at.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is neither an address with a port, such as 127.0.0.1:5900, nor a path with a slash")]
pub struct InvalidAddress(String);

impl FromStr for ListenAddress {
    type Err = InvalidAddress;

    /// Reads an address with its port, a port of the loopback address, or a path with a slash.
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if text.contains('/') {
            return Ok(Self::Unix(text.into()));
        }
        if let Ok(port) = text.parse() {
            return Ok(Self::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
        }
        let address = text.parse().map(Self::Tcp);
        address.map_err(|_| InvalidAddress(text.to_owned()))
    }
}

/// Why a server cannot listen.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Others than this machine could connect.
    #[error("{0} is no loopback address: without authentication only these are served")]
    NotLoopback(SocketAddr),
    /// The system refuses.
    #[error("cannot listen on {address}: {source}")]
    Socket {
        /// Where.
        address: ListenAddress,
        /// Why.
        source: io::Error,
    },
}

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    pub(super) fn bind(address: &ListenAddress) -> Result<Self, ListenError> {
        if let ListenAddress::Tcp(address) = address
            && !address.ip().is_loopback()
        {
            return Err(ListenError::NotLoopback(*address));
        }
        Self::bind_checked(address).map_err(|source| ListenError::Socket {
            address: address.clone(),
            source,
        })
    }

    fn bind_checked(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Tcp(listener))
            }
            ListenAddress::Unix(path) => {
                let listener = UnixListener::bind(path)?;
                // Owns the file from here on.
                let listener = Self::Unix(listener, path.clone());
                std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
                if let Self::Unix(listener, _) = &listener {
                    listener.set_nonblocking(true)?;
                }
                Ok(listener)
            }
        }
    }

    /// Where it really listens.
    pub(super) fn address(&self) -> io::Result<ListenAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddress::Tcp),
            Self::Unix(_, path) => Ok(ListenAddress::Unix(path.clone())),
        }
    }

    /// The next connection; `None` if there is none now.
    pub(super) fn accept(&self) -> io::Result<Option<Stream>> {
        let stream = match self {
            Self::Tcp(listener) => listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }),
            Self::Unix(listener, _) => listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                Ok(Stream::Unix(stream))
            }),
        };
        match stream {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener, _) => listener.as_fd(),
        }
    }
}

#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buffer),
            Self::Unix(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let local = |port| ListenAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        assert_eq!("127.0.0.1:5900".parse(), Ok(local(5900)));
        assert_eq!("5901".parse(), Ok(local(5901)));
        assert_eq!("./vnc".parse(), Ok(ListenAddress::Unix("./vnc".into())));
        for text in ["", "vnc", "127.0.0.1", "localhost:5900", "99999"] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }
}
