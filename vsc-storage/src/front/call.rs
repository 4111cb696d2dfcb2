//! Commands that are tried until they succeed or have failed for good.

use core::sync::atomic::{AtomicUsize, Ordering};

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use spin::Mutex;

use super::buffer::{DmaBuffer, SharedPlatform};
use super::disk::UnitState;
use super::event::Events;
use super::options::{ControllerKind, ControllerOptions};
use super::port::{Execute, JobData, Port, Way};
use super::time::{Pause, SharedRuntime, within};
use crate::disk::{CommandKind, Decision, DiskError, Geometry, Retries};
use crate::init::Negotiated;
use crate::queue::{Address, CommandError, Outcome};
use crate::scsi::{Capacity, Cdb, Command, parse_capacity_10, parse_capacity_16};

/// What all disks and tasks of a controller share.
pub(super) struct Shared {
    pub(super) runtime: SharedRuntime,
    pub(super) platform: SharedPlatform,
    pub(super) kind: ControllerKind,
    pub(super) options: ControllerOptions,
    pub(super) negotiated: Negotiated,
    pub(super) events: Arc<Events>,
    /// The primary channel first.
    pub(super) lanes: Mutex<Vec<Arc<dyn Port>>>,
    /// Sub-channels that have failed and are to be closed.
    retired: Mutex<Vec<Arc<dyn Port>>>,
    next_lane: AtomicUsize,
    pub(super) units: Mutex<Vec<Arc<UnitState>>>,
}

/// A command for one unit.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) address: Address,
    pub(super) command: Cdb,
    pub(super) kind: CommandKind,
    /// Blocks that it concerns: they must still be on the disk after a change of its size.
    pub(super) range: Option<(u64, u64)>,
}

/// Part of a buffer that goes with a call.
pub(super) struct CallData {
    pub(super) buffer: DmaBuffer,
    pub(super) way: Way,
    pub(super) offset: u64,
    pub(super) bytes: u32,
}

/// The result of a call, with its buffer.
pub(super) type Called = (Result<Outcome, DiskError>, Option<DmaBuffer>);

impl Shared {
    pub(super) fn new(
        runtime: SharedRuntime,
        kind: ControllerKind,
        options: ControllerOptions,
        negotiated: Negotiated,
        events: Arc<Events>,
        primary: Arc<dyn Port>,
    ) -> Self {
        let platform: SharedPlatform = runtime.clone();
        Self {
            runtime,
            platform,
            kind,
            options,
            negotiated,
            events,
            lanes: Mutex::new(alloc::vec![primary]),
            retired: Mutex::new(Vec::new()),
            next_lane: AtomicUsize::new(0),
            units: Mutex::new(Vec::new()),
        }
    }

    /// The primary channel.
    pub(super) fn primary(&self) -> Option<Arc<dyn Port>> {
        self.lanes.lock().first().cloned()
    }

    /// The channel for the next command: each in turn.
    fn pick(&self) -> Option<Arc<dyn Port>> {
        let lanes = self.lanes.lock();
        let turn = self.next_lane.fetch_add(1, Ordering::Relaxed);
        lanes.get(turn.checked_rem(lanes.len())?).cloned()
    }

    /// Whether the controller is there.
    pub(super) fn is_open(&self) -> bool {
        self.primary().is_some_and(|primary| primary.is_open())
    }

    /// Takes a channel that has failed out of use; `false` if it was the primary one, without which
    /// the controller is gone.
    fn retire(&self, failed: &Arc<dyn Port>) -> bool {
        let mut lanes = self.lanes.lock();
        match lanes.iter().position(|lane| Arc::ptr_eq(lane, failed)) {
            Some(0) => false,
            Some(place) => {
                let lane = lanes.remove(place);
                drop(lanes);
                self.retired.lock().push(lane);
                self.events.notify();
                true
            }
            // Another task was first.
            None => true,
        }
    }

    /// Closes the channels that have failed.
    pub(super) async fn close_retired(&self) {
        loop {
            let lane = self.retired.lock().pop();
            match lane {
                Some(lane) => {
                    let _ = lane.close().await;
                }
                None => return,
            }
        }
    }

    /// Has a command executed, again if need be.
    pub(super) async fn call(
        &self,
        unit: Option<&UnitState>,
        call: Call,
        mut data: Option<CallData>,
    ) -> Called {
        let mut retries = Retries::new(self.options.retries, call.kind);
        loop {
            let Some(port) = self.pick() else {
                return (Err(DiskError::Closed), data.map(|data| data.buffer));
            };
            let place = data
                .as_ref()
                .map(|data| (data.way, data.offset, data.bytes));
            let job = data.map(|data| JobData {
                buffer: data.buffer,
                way: data.way,
                offset: data.offset,
                bytes: data.bytes,
            });
            let (result, buffer) =
                Execute::new(port.clone(), call.address, call.command, job).await;
            data = buffer
                .zip(place)
                .map(|(buffer, (way, offset, bytes))| CallData {
                    buffer,
                    way,
                    offset,
                    bytes,
                });
            let error = match result {
                Ok(outcome) => match outcome.result {
                    Ok(()) => return (Ok(outcome), data.map(|data| data.buffer)),
                    Err(error) => error,
                },
                Err(DiskError::Closed) => CommandError::Cancelled,
                Err(error) => return (Err(error), data.map(|data| data.buffer)),
            };
            if error == CommandError::Cancelled && self.retire(&port) {
                // A sub-channel died; the others go on.
                continue;
            }
            let failure = match retries.decide(error) {
                Decision::Again => None,
                Decision::AgainAndRescan => {
                    self.events.request_rescan();
                    None
                }
                Decision::AgainAfter { pause } => {
                    Pause::new(&self.runtime, pause).await;
                    None
                }
                Decision::AgainAfterCapacity => match unit {
                    // Boxed because measuring is a call too.
                    Some(unit) => Box::pin(self.measure(unit, call.range)).await.err(),
                    None => None,
                },
                Decision::Fail(error) => Some(error),
                Decision::FailAndRescan(error) => {
                    self.events.request_rescan();
                    Some(error)
                }
            };
            if let Some(error) = failure {
                return (Err(error), data.map(|data| data.buffer));
            }
        }
    }

    /// Reads a disk's capacity again and checks a range against it.
    async fn measure(&self, unit: &UnitState, range: Option<(u64, u64)>) -> Result<(), DiskError> {
        let address = unit.info().address;
        let long = Command::ReadCapacity16 {
            allocation_length: 32,
        };
        let mut capacity = self.capacity(address, long, parse_capacity_16, 32).await;
        if capacity == Err(DiskError::Unsupported) {
            let short = Command::ReadCapacity10;
            capacity = self.capacity(address, short, parse_capacity_10, 8).await;
        }
        let capacity = capacity?;
        let geometry = Geometry::new(&capacity).map_err(|_| DiskError::Unsupported)?;
        if unit.set_geometry(geometry) {
            // What else follows from the size is found by a scan.
            self.events.request_rescan();
        }
        range.map_or(Ok(()), |(lba, blocks)| geometry.check(lba, blocks))
    }

    async fn capacity(
        &self,
        address: Address,
        command: Command,
        parse: fn(&[u8]) -> Option<Capacity>,
        bytes: u32,
    ) -> Result<Capacity, DiskError> {
        let call = Call {
            address,
            command: command.encode().map_err(|_| DiskError::Unsupported)?,
            kind: CommandKind::Repeatable,
            range: None,
        };
        let buffer = DmaBuffer::new(&self.platform, 32).ok_or(DiskError::OutOfMemory)?;
        let data = CallData {
            buffer,
            way: Way::In,
            offset: 0,
            bytes,
        };
        let timeout = self.options.command_timeout;
        let (result, buffer) = within(&self.runtime, timeout, self.call(None, call, Some(data)))
            .await
            .map_err(|_| DiskError::TimedOut)?;
        let outcome = result?;
        let received = received(&outcome, buffer.as_ref());
        parse(&received).ok_or(DiskError::Short {
            requested: bytes,
            transferred: outcome.transferred,
        })
    }
}

/// A private copy of the bytes that a command has put into its buffer.
pub(super) fn received(outcome: &Outcome, buffer: Option<&DmaBuffer>) -> Vec<u8> {
    let Some(buffer) = buffer else {
        return Vec::new();
    };
    let length = usize::try_from(outcome.transferred).unwrap_or(usize::MAX);
    let mut bytes = alloc::vec![0; length.min(buffer.len())];
    // At most the buffer's length.
    let _ = buffer.copy_to(0, &mut bytes);
    bytes
}
