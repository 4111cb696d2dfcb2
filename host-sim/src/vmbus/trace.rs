//! A record of the bus, to be read and replayed when something went wrong.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use vmbus_core::protocol::MessageType;

/// What is recorded.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum BusEvent {
    /// The guest posted a message.
    MessageFromGuest {
        /// Connection id that it was posted to.
        connection: u32,
        /// Type, by name where it has one.
        message: String,
        /// The message in hexadecimal.
        bytes: String,
    },
    /// The host posted a message.
    MessageToGuest {
        /// Virtual processor that gets it.
        vp: u32,
        /// Type, by name.
        message: String,
        /// The message in hexadecimal.
        bytes: String,
    },
    /// A channel was opened.
    Opened {
        /// Its id.
        channel: u32,
        /// Virtual processor that gets its interrupts; `None` if the guest polls.
        vp: Option<u32>,
    },
    /// A channel was closed.
    Closed {
        /// Its id.
        channel: u32,
    },
    /// The guest broke a channel.
    Fault {
        /// Its id.
        channel: u32,
        /// How.
        fault: String,
    },
}

impl BusEvent {
    pub(super) fn from_guest(connection: u32, bytes: &[u8]) -> Self {
        Self::MessageFromGuest {
            connection,
            message: name(bytes),
            bytes: hexadecimal(bytes),
        }
    }

    pub(super) fn to_guest(vp: u32, bytes: &[u8]) -> Self {
        Self::MessageToGuest {
            vp,
            message: name(bytes),
            bytes: hexadecimal(bytes),
        }
    }
}

fn name(bytes: &[u8]) -> String {
    let number = bytes
        .first_chunk()
        .map_or(0, |type_bytes| u32::from_le_bytes(*type_bytes));
    format!("{:?}", MessageType(number))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Gets every event, from any thread.
pub trait BusObserver: Send + Sync {
    /// Something happened at `time` (100 ns units of reference time).
    fn observe(&self, time: u64, event: &BusEvent);
}

/// Writes events to a file, a JSON object a line.
pub struct JsonTrace {
    file: Mutex<BufWriter<File>>,
}

#[derive(Serialize)]
struct Line<'a> {
    time: u64,
    #[serde(flatten)]
    event: &'a BusEvent,
}

impl JsonTrace {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    /// The file can't be created.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            file: Mutex::new(BufWriter::new(File::create(path)?)),
        })
    }
}

impl BusObserver for JsonTrace {
    fn observe(&self, time: u64, event: &BusEvent) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = serde_json::to_writer(&mut *file, &Line { time, event })
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            // Flushed each time: the record is read after crashes.
            .and_then(|()| file.flush());
        if let Err(error) = written {
            tracing::warn!(%error, "the trace is incomplete");
        }
    }
}
