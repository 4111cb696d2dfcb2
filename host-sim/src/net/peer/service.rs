//! TCP services.

use sha2::{Digest, Sha256};
use smoltcp::socket::tcp::Socket;

use super::{fill_content, hexadecimal};

/// Digits of the number of bytes that the source service is asked for.
const MAX_LINE: usize = 20;

/// Which service a socket serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Echo,
    Discard,
    Source,
}

/// A service's state in one connection.
pub(super) enum Session {
    Echo,
    Discard {
        hash: Box<Sha256>,
        count: u64,
    },
    /// The answer of a discard, or its rest.
    Answer(Vec<u8>),
    /// The line that asks a source.
    Asked(Vec<u8>),
    /// Sent so far, and in all.
    Sending(u64, u64),
    /// Nothing more is sent.
    Done,
}

/// What one turn has moved.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moved {
    pub(super) read: u64,
    pub(super) written: u64,
}

impl Session {
    pub(super) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Echo => Self::Echo,
            Kind::Discard => Self::Discard {
                hash: Box::new(Sha256::new()),
                count: 0,
            },
            Kind::Source => Self::Asked(Vec::new()),
        }
    }

    /// Moves what can be moved.
    pub(super) fn turn(&mut self, socket: &mut Socket<'_>) -> Moved {
        let mut moved = Moved::default();
        // Each step reads or writes something, or changes the state towards the end.
        while self.step(socket, &mut moved) {}
        moved
    }

    fn step(&mut self, socket: &mut Socket<'_>, moved: &mut Moved) -> bool {
        // Whether the guest has sent all it will.
        let is_over = !socket.may_recv() && !socket.can_recv();
        match self {
            Self::Echo => {
                if is_over {
                    socket.close();
                    *self = Self::Done;
                    return true;
                }
                let mut piece = [0; 2048];
                let room = (socket.send_capacity() - socket.send_queue()).min(piece.len());
                if room == 0 || !socket.can_recv() || !socket.can_send() {
                    return false;
                }
                let count = socket.recv_slice(&mut piece[..room]).unwrap_or(0);
                let sent = socket.send_slice(&piece[..count]).unwrap_or(0);
                moved.read += count as u64;
                moved.written += sent as u64;
                count != 0
            }
            Self::Discard { hash, count } => {
                if is_over {
                    let digest = hexadecimal(&hash.clone().finalize());
                    *self = Self::Answer(format!("{digest} {count}\n").into_bytes());
                    return true;
                }
                let read = socket.recv(|data| {
                    hash.update(&*data);
                    (data.len(), data.len())
                });
                let read = read.unwrap_or(0) as u64;
                *count += read;
                moved.read += read;
                read != 0
            }
            Self::Answer(rest) => {
                let sent = socket.send_slice(rest).unwrap_or(0);
                rest.drain(..sent);
                moved.written += sent as u64;
                if rest.is_empty() || !socket.may_send() {
                    socket.close();
                    *self = Self::Done;
                }
                false
            }
            Self::Asked(line) => {
                let mut byte = [0];
                if is_over || line.len() > MAX_LINE {
                    socket.close();
                    *self = Self::Done;
                    return true;
                }
                if !socket.can_recv() || socket.recv_slice(&mut byte) != Ok(1) {
                    return false;
                }
                moved.read += 1;
                if byte[0] != b'\n' {
                    line.push(byte[0]);
                    return true;
                }
                let number = std::str::from_utf8(line).ok();
                let number = number.and_then(|text| text.trim().parse().ok());
                *self = number.map_or(Self::Sending(0, 0), |length| Self::Sending(0, length));
                true
            }
            Self::Sending(done, length) => {
                if done == length || !socket.may_send() {
                    socket.close();
                    *self = Self::Done;
                    return true;
                }
                let sent = socket.send(|room| {
                    let count = (*length - *done).min(room.len() as u64) as usize;
                    fill_content(*done, &mut room[..count]);
                    (count, count)
                });
                let sent = sent.unwrap_or(0) as u64;
                *done += sent;
                moved.written += sent;
                sent != 0
            }
            Self::Done => {
                // Reads away what comes after the end, so that the connection can come to its own.
                let read = socket.recv(|data| (data.len(), data.len())).unwrap_or(0);
                moved.read += read as u64;
                read != 0
            }
        }
    }
}
