//! File copy, host end: brings a file into the guest, piece by piece.
//!
//! The guest has one file at a time, and gives it up when it is told to, when a piece fails, when the channel is closed.

mod error;
mod state;

use std::io::Read;

use ic_services::file_copy::wire::{CopyFlags, MAX_DATA, Start};
use ic_services::wire::{MessageType, Version};
use vmbus_core::class;

pub use self::error::FileCopyError;
pub use self::state::Progress;
use self::state::{Phase, State};
use super::channel::{ServiceChannel, Shared};
use super::pending::{Pending, pending};
use super::request::{Link, REQUEST_TIMEOUT};
use super::session::Offered;
use super::versions::ServiceVersions;
use crate::vmbus::vsp::{
    ChannelServices, OfferDescription, OpenRefused, OpenRequest, Vsp, VspChannel,
};

/// Most bytes of a piece.
pub const PIECE: usize = MAX_DATA;

/// The versions that the host offers unless told otherwise.
const VERSIONS: ServiceVersions =
    ServiceVersions::fixed(&[Version::new(3, 0)], &[Version::new(1, 1)]);

/// How the service works.
#[derive(Clone, Debug)]
pub struct FileCopyOptions {
    /// The versions offered.
    pub versions: ServiceVersions,
    /// Time that the guest has for an answer, in 100 ns units.
    pub timeout: u64,
}

impl Default for FileCopyOptions {
    /// Version 1.1, the protocol's time.
    fn default() -> Self {
        Self {
            versions: VERSIONS,
            timeout: REQUEST_TIMEOUT,
        }
    }
}

/// A file to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// Its name.
    pub file_name: String,
    /// Its directory in the guest.
    pub directory: String,
    /// Its bytes.
    pub size: u64,
    /// Whether a file that exists is replaced.
    pub overwrite: bool,
    /// Whether missing directories are made.
    pub create_path: bool,
}

impl NewFile {
    /// A file of so many bytes that replaces none, in a directory that exists.
    #[must_use]
    pub fn new(directory: impl Into<String>, file_name: impl Into<String>, size: u64) -> Self {
        Self {
            file_name: file_name.into(),
            directory: directory.into(),
            size,
            overwrite: false,
            create_path: false,
        }
    }

    fn to_wire(&self) -> Result<Box<Start>, FileCopyError> {
        let mut flags = CopyFlags::empty();
        flags.set(CopyFlags::OVERWRITE, self.overwrite);
        flags.set(CopyFlags::CREATE_PATH, self.create_path);
        Start::new(&self.file_name, &self.directory, flags, self.size)
            .map(Box::new)
            .map_err(FileCopyError::Name)
    }
}

/// The service's device on the bus.
pub struct FileCopy {
    versions: ServiceVersions,
    state: Shared<State>,
}

/// Copies files; clones share the service.
#[derive(Clone)]
pub struct FileCopyHandle {
    state: Shared<State>,
}

type Outcome = Pending<(), FileCopyError>;

impl FileCopy {
    /// A service without a file.
    #[must_use]
    pub fn new(options: FileCopyOptions) -> (Self, FileCopyHandle) {
        let state = Shared::new(State::new(options.timeout));
        let handle = FileCopyHandle {
            state: state.clone(),
        };
        let versions = options.versions;
        (Self { versions, state }, handle)
    }
}

impl FileCopyHandle {
    /// How the service and its guest stand.
    #[must_use]
    pub fn link(&self) -> Link {
        self.state.lock().requests.link()
    }

    /// How far the file is, if there is one.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.state.lock().progress.clone()
    }

    /// Copies a whole file out of `source`, which is read as far as the file's size says. Waits for the guest; not
    /// for the thread that runs the bus step by step.
    ///
    /// # Errors
    /// [`FileCopyError`]; the guest has been told to give the file up then.
    pub fn copy(&self, file: &NewFile, mut source: impl Read) -> Result<(), FileCopyError> {
        let (session, started) = self.start(file)?;
        started.wait()?;
        let mut piece = vec![0; PIECE];
        let mut given = 0;
        while given < file.size {
            let room = usize::try_from(file.size - given).unwrap_or(PIECE);
            let room = &mut piece[..room.min(PIECE)];
            let count = read_full(&mut source, room).map_err(FileCopyError::Source)?;
            if count == 0 {
                let size = file.size;
                return Err(FileCopyError::Size { given, size });
            }
            session.write(&piece[..count])?.wait()?;
            given += count as u64;
        }
        session.complete()?.wait()
    }

    /// Begins a file. Its pieces may follow when the guest has answered.
    ///
    /// # Errors
    /// [`FileCopyError`] if it can't be asked for: another is being copied, the name does not fit.
    pub fn start(&self, file: &NewFile) -> Result<(CopySession, Outcome), FileCopyError> {
        let message = file.to_wire()?;
        let progress = Progress {
            file_name: file.file_name.clone(),
            copied: 0,
            size: file.size,
        };
        self.act(|state| {
            state.requests.check_room()?;
            if state.phase != Phase::Idle {
                return Err(FileCopyError::Busy);
            }
            let (promise, answer) = pending();
            state.start(*message, progress, promise);
            let session = CopySession {
                handle: self.clone(),
                session: state.session,
            };
            Ok((session, answer))
        })
    }

    /// Stops the copy: at once between two pieces, else as soon as the guest has answered the last one. Who copies
    /// gets [`FileCopyError::Cancelled`].
    ///
    /// # Errors
    /// [`FileCopyError::NotStarted`] if nothing is being copied.
    pub fn cancel(&self) -> Result<(), FileCopyError> {
        self.act(|state| match state.phase {
            Phase::Starting | Phase::Open | Phase::Working => {
                state.stop();
                Ok(())
            }
            Phase::Idle | Phase::Cancelling | Phase::CancelOwed => Err(FileCopyError::NotStarted),
        })
    }

    /// Does something with the state and wakes the channel.
    fn act<T>(
        &self,
        act: impl FnOnce(&mut State) -> Result<T, FileCopyError>,
    ) -> Result<T, FileCopyError> {
        let mut state = self.state.lock();
        let result = act(&mut state)?;
        let waker = state.requests.waker();
        // The channel takes the lock when it is woken.
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(result)
    }
}

/// A file that is being copied. Dropped before its end, it is given up.
pub struct CopySession {
    handle: FileCopyHandle,
    session: u32,
}

impl CopySession {
    /// Sends the next piece of the file.
    ///
    /// # Errors
    /// [`FileCopyError`] if it can't be sent: it is too large, the guest is at another, the copy was cancelled.
    pub fn write(&self, data: &[u8]) -> Result<Outcome, FileCopyError> {
        if data.len() > PIECE {
            return Err(FileCopyError::PieceTooLarge(data.len()));
        }
        self.handle.act(|state| {
            let progress = self.check_open(state)?;
            let given = progress.copied.saturating_add(data.len() as u64);
            let (offset, size) = (progress.copied, progress.size);
            if given > size {
                return Err(FileCopyError::Size { given, size });
            }
            let (promise, answer) = pending();
            state.write(offset, data, promise);
            Ok(answer)
        })
    }

    /// Ends the file, all of which has been sent.
    ///
    /// # Errors
    /// [`FileCopyError`] if it can't be ended: pieces are missing, the guest is at one, the copy was cancelled.
    pub fn complete(&self) -> Result<Outcome, FileCopyError> {
        self.handle.act(|state| {
            let progress = self.check_open(state)?;
            let (given, size) = (progress.copied, progress.size);
            if given < size {
                return Err(FileCopyError::Size { given, size });
            }
            let (promise, answer) = pending();
            state.complete(promise);
            Ok(answer)
        })
    }

    /// The file, if it waits for its next piece.
    fn check_open<'a>(&self, state: &'a State) -> Result<&'a Progress, FileCopyError> {
        if state.session != self.session {
            return Err(FileCopyError::NotStarted);
        }
        if state.stopped {
            return Err(FileCopyError::Cancelled);
        }
        state.requests.version()?;
        match state.phase {
            Phase::Starting | Phase::Working => Err(FileCopyError::Busy),
            Phase::Idle | Phase::Cancelling | Phase::CancelOwed => Err(FileCopyError::NotStarted),
            Phase::Open => state.progress.as_ref().ok_or(FileCopyError::NotStarted),
        }
    }
}

impl Drop for CopySession {
    fn drop(&mut self) {
        let stopped = self.handle.act(|state| {
            if state.session == self.session {
                state.stop();
            }
            Ok(())
        });
        debug_assert!(stopped.is_ok());
    }
}

/// Reads until the piece is full or the source ends.
fn read_full(source: &mut impl Read, piece: &mut [u8]) -> std::io::Result<usize> {
    let mut count = 0;
    while count < piece.len() {
        match source.read(&mut piece[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

impl Vsp for FileCopy {
    fn offer(&self) -> OfferDescription {
        OfferDescription::message_pipe(class::FILE_COPY, class::instance::FILE_COPY)
    }

    fn open(
        &mut self,
        _request: OpenRequest,
        services: ChannelServices,
    ) -> Result<Box<dyn VspChannel>, OpenRefused> {
        let offered = Offered {
            message_type: MessageType::FILE_COPY,
            versions: self.versions.clone(),
        };
        let channel = ServiceChannel::new(offered, self.state.clone(), &services);
        Ok(Box::new(channel))
    }
}

#[cfg(test)]
mod tests;
