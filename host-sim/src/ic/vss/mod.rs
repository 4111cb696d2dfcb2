//! Backup, host end: freezes the guest's file systems while a snapshot of its disks is taken.
//!
//! Whoever is told to freeze is told to thaw: after a failure, when the time is over, when the service comes back.

mod error;
mod state;

use ic_services::vss::wire::{
    AutoRecover, Freeze, FreezeFlags, Header, HotBackup, MAX_LUNS, Operation, WithFlags,
};
use ic_services::wire::{MessageType, Version};
use vmbus_core::class;
use zerocopy::IntoBytes;

pub use self::error::{BackupError, VssError};
pub use self::state::Phase;
use self::state::{Job, State};
use super::channel::{ServiceChannel, Shared};
use super::pending::{Pending, Promise, pending};
use super::request::{Link, REQUEST_TIMEOUT, RequestError, SECOND};
use super::session::Offered;
use super::versions::ServiceVersions;
use crate::vmbus::vsp::{
    ChannelServices, OfferDescription, OpenRefused, OpenRequest, Vsp, VspChannel,
};

pub use ic_services::vss::wire::{BusType, Lun};

/// Time that the guest has to freeze, in 100 ns units: 60 s.
pub const FREEZE_TIMEOUT: u64 = 60 * SECOND;
/// Longest that the guest stays frozen, in 100 ns units: 10 s.
pub const THAW_AFTER: u64 = 10 * SECOND;
/// Longest that anything may take or be extended to, in 100 ns units: 15 min, after which guests thaw by themselves.
pub const LONGEST: u64 = 900 * SECOND;

/// The first version that freezes.
const FIRST_WITH_FREEZE: Version = Version::new(5, 0);
/// The first version that is told when a backup is complete.
const FIRST_WITH_COMPLETE: Version = Version::new(4, 0);

/// The versions that the host offers unless told otherwise.
const VERSIONS: ServiceVersions =
    ServiceVersions::fixed(&[Version::new(3, 0)], &[Version::new(5, 0)]);

/// How the service works.
#[derive(Clone, Debug)]
pub struct VssOptions {
    /// The versions offered.
    pub versions: ServiceVersions,
    /// Time that the guest has for an answer, in 100 ns units.
    pub timeout: u64,
    /// Time that the guest has to freeze, in 100 ns units; [`LONGEST`] at most.
    pub freeze_timeout: u64,
    /// Longest that the guest stays frozen, in 100 ns units; [`LONGEST`] at most.
    pub thaw_after: u64,
}

impl Default for VssOptions {
    /// Version 5.0, the protocol's times.
    fn default() -> Self {
        Self {
            versions: VERSIONS,
            timeout: REQUEST_TIMEOUT,
            freeze_timeout: FREEZE_TIMEOUT,
            thaw_after: THAW_AFTER,
        }
    }
}

/// What is to be frozen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FreezeRequest {
    /// Kind of backup, for the guest to pass on.
    pub backup_type: u32,
    /// The snapshot will be recovered by the guest.
    pub auto_recovery: bool,
    /// Disks that guests share are part of it.
    pub shared_disks: bool,
    /// The disks to be backed up; none: all.
    pub disks: Vec<Lun>,
    /// Time that the guest has to freeze, in 100 ns units, [`LONGEST`] at most; none: the service's.
    pub timeout: Option<u64>,
}

impl FreezeRequest {
    fn to_wire(&self, operation: Operation) -> Result<Box<Freeze>, VssError> {
        let mut flags = FreezeFlags::empty();
        flags.set(FreezeFlags::AUTO_RECOVERY, self.auto_recovery);
        flags.set(FreezeFlags::SHARED_LUNS, self.shared_disks);
        let freeze = Freeze::new(operation, self.backup_type, flags, &self.disks);
        freeze
            .map(Box::new)
            .map_err(|error| VssError::TooManyDisks(error.0))
    }
}

/// The service's device on the bus.
pub struct Vss {
    versions: ServiceVersions,
    state: Shared<State>,
}

/// Freezes and thaws; clones share the service.
///
/// Each verb but [`backup`](Self::backup) returns at once: an error if the request can't be made, or the answer that
/// will come.
#[derive(Clone)]
pub struct VssHandle {
    state: Shared<State>,
}

impl Vss {
    /// A service without requests.
    #[must_use]
    pub fn new(mut options: VssOptions) -> (Self, VssHandle) {
        options.freeze_timeout = options.freeze_timeout.min(LONGEST);
        options.thaw_after = options.thaw_after.min(LONGEST);
        let versions = options.versions.clone();
        let state = Shared::new(State::new(options));
        let handle = VssHandle {
            state: state.clone(),
        };
        (Self { versions, state }, handle)
    }
}

impl VssHandle {
    /// How the service and its guest stand.
    #[must_use]
    pub fn link(&self) -> Link {
        self.state.lock().requests.link()
    }

    /// How the guest's file systems stand.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.state.lock().phase
    }

    /// Asks whether the guest can be backed up while it runs.
    ///
    /// # Errors
    /// [`VssError::Request`] if it can't be asked.
    pub fn check(&self) -> Result<Pending<HotBackup, VssError>, VssError> {
        self.submit(Operation::CHECK_HOT_BACKUP, Job::Check)
    }

    /// Asks for directly mapped devices: flags of the guest's.
    ///
    /// # Errors
    /// [`VssError::Request`] if it can't be asked.
    pub fn direct_mapped_info(&self) -> Result<Pending<u32, VssError>, VssError> {
        self.submit(Operation::GET_DIRECT_MAPPED_INFO, Job::Flags)
    }

    /// Tells the guest that the backup is complete.
    ///
    /// # Errors
    /// [`VssError::Request`] if it can't be told.
    pub fn complete(&self) -> Result<Pending<(), VssError>, VssError> {
        self.check_version(FIRST_WITH_COMPLETE)?;
        self.submit(Operation::BACKUP_COMPLETE, Job::Status)
    }

    /// Freezes the guest's file systems. They are thawed by [`thaw`](Self::thaw), or by the host when that takes too
    /// long or the guest can't freeze all of them.
    ///
    /// # Errors
    /// [`VssError`] if it can't be asked: the guest is not thawed, there are too many disks.
    pub fn freeze(&self, request: &FreezeRequest) -> Result<Pending<(), VssError>, VssError> {
        self.begin(request).map(|(_, answer)| answer)
    }

    /// Freezes, and numbers the freeze.
    fn begin(&self, request: &FreezeRequest) -> Result<(u64, Pending<(), VssError>), VssError> {
        self.check_version(FIRST_WITH_FREEZE)?;
        let body = request.to_wire(Operation::FREEZE)?.as_bytes().to_vec();
        let timeout = request.timeout.map(|timeout| timeout.min(LONGEST));
        self.act(|state| {
            if state.phase != Phase::Thawed {
                return Err(VssError::AlreadyFrozen);
            }
            state.requests.check_room()?;
            let (promise, answer) = pending();
            state.freeze(body, timeout, promise);
            Ok((state.freezes, answer))
        })
    }

    /// Lets the guest stay frozen for so much longer (100 ns units), up to [`LONGEST`] in all.
    ///
    /// # Errors
    /// [`VssError::NotFrozen`] if it isn't, [`VssError::FrozenTooLong`] if it isn't any more.
    pub fn extend(&self, time: u64) -> Result<(), VssError> {
        self.act(|state| {
            if let Some(error) = state.broken {
                return Err(error);
            }
            if !matches!(state.phase, Phase::Freezing | Phase::Frozen) {
                return Err(VssError::NotFrozen);
            }
            state.thaw_after = state.thaw_after.saturating_add(time).min(LONGEST);
            Ok(())
        })
    }

    /// Thaws the guest's file systems.
    ///
    /// # Errors
    /// [`VssError`] if there is nothing to thaw; said once, [`VssError::FrozenTooLong`] if the host has thawed them
    /// already, [`RequestError::Abandoned`] if the guest went away meanwhile.
    pub fn thaw(&self) -> Result<Pending<(), VssError>, VssError> {
        self.act(thaw)
    }

    /// Thaws what the freeze with this number froze, not what somebody has frozen after it.
    fn end(&self, freeze: u64) -> Result<Pending<(), VssError>, VssError> {
        self.act(|state| {
            if state.freezes != freeze {
                return Err(VssError::NotFrozen);
            }
            thaw(state)
        })
    }

    /// Lets the guest recover the snapshots (in the same order as the request's disks).
    ///
    /// # Errors
    /// [`VssError`] if it can't be asked. Guests must have said with [`check`](Self::check) that they can: the
    /// message is larger than what others have room for.
    pub fn auto_recover(
        &self,
        request: &FreezeRequest,
        snapshots: &[Lun],
    ) -> Result<Pending<(), VssError>, VssError> {
        self.check_version(FIRST_WITH_FREEZE)?;
        let mut list = [Lun::NONE; MAX_LUNS];
        list.get_mut(..snapshots.len())
            .ok_or(VssError::TooManyDisks(snapshots.len()))?
            .copy_from_slice(snapshots);
        let freeze = request.to_wire(Operation::AUTO_RECOVER)?;
        let mut body = Vec::with_capacity(size_of::<AutoRecover>());
        body.extend_from_slice(freeze.as_bytes());
        body.extend_from_slice(list.as_bytes());
        self.act(|state| {
            // Stock Linux says 0 and cannot.
            match state.hot_backup {
                None | Some(HotBackup(0) | HotBackup::NO_AUTO_RECOVERY) => {
                    return Err(VssError::NoAutoRecovery);
                }
                Some(_) => {}
            }
            state.requests.check_room()?;
            let (promise, answer) = pending();
            let timeout = state.options.timeout;
            state.requests.submit(body, timeout, Job::Status(promise));
            Ok(answer)
        })
    }

    /// A whole backup: asks, freezes, calls `snapshot`, thaws, and returns what `snapshot` did. Waits for the guest;
    /// not for the thread that runs the bus step by step.
    ///
    /// # Errors
    /// [`BackupError`]. The guest is told to thaw in any case, also if `snapshot` panics.
    pub fn backup<T>(
        &self,
        request: &FreezeRequest,
        snapshot: impl FnOnce() -> T,
    ) -> Result<T, BackupError> {
        self.check()
            .and_then(Pending::wait)
            .map_err(BackupError::Check)?;
        let (freeze, answer) = self.begin(request).map_err(BackupError::Freeze)?;
        answer.wait().map_err(BackupError::Freeze)?;
        let frozen = ThawOnDrop(self, freeze);
        let result = snapshot();
        std::mem::forget(frozen);
        self.end(freeze)
            .and_then(Pending::wait)
            .map_err(BackupError::Thaw)?;
        Ok(result)
    }

    fn check_version(&self, first: Version) -> Result<(), VssError> {
        let version = self.state.lock().requests.version()?;
        if version < first {
            return Err(RequestError::NotInVersion(version).into());
        }
        Ok(())
    }

    fn submit<T>(
        &self,
        operation: Operation,
        job: impl FnOnce(Promise<T, VssError>) -> Job,
    ) -> Result<Pending<T, VssError>, VssError> {
        let body = WithFlags {
            header: Header::new(operation),
            flags: 0.into(),
        };
        self.act(|state| {
            state.requests.check_room()?;
            let (promise, answer) = pending();
            let timeout = state.options.timeout;
            let body = body.as_bytes().to_vec();
            state.requests.submit(body, timeout, job(promise));
            Ok(answer)
        })
    }

    /// Does something with the state and wakes the channel.
    fn act<T>(&self, act: impl FnOnce(&mut State) -> Result<T, VssError>) -> Result<T, VssError> {
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

fn thaw(state: &mut State) -> Result<Pending<(), VssError>, VssError> {
    if let Some(error) = state.broken.take() {
        return Err(error);
    }
    match state.phase {
        Phase::Frozen => {}
        Phase::Thawed => return Err(VssError::NotFrozen),
        Phase::Freezing | Phase::Thawing => return Err(RequestError::Busy.into()),
        Phase::ThawOwed => return Err(RequestError::NotReady.into()),
    }
    let (promise, answer) = pending();
    state.thaw(Some(promise));
    Ok(answer)
}

/// Thaws when a snapshot ends by a panic.
struct ThawOnDrop<'a>(&'a VssHandle, u64);

impl Drop for ThawOnDrop<'_> {
    fn drop(&mut self) {
        // The host thaws by itself later if this fails.
        let _ = self.0.end(self.1);
    }
}

impl Vsp for Vss {
    fn offer(&self) -> OfferDescription {
        OfferDescription::message_pipe(class::VSS, class::instance::VSS)
    }

    fn open(
        &mut self,
        _request: OpenRequest,
        services: ChannelServices,
    ) -> Result<Box<dyn VspChannel>, OpenRefused> {
        let offered = Offered {
            message_type: MessageType::VSS,
            versions: self.versions.clone(),
        };
        let channel = ServiceChannel::new(offered, self.state.clone(), &services);
        Ok(Box::new(channel))
    }
}

#[cfg(test)]
mod tests;
