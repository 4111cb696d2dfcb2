//! A storage controller.

use core::fmt;
use core::future::poll_fn;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::bring_up::{BringUpError, bring_up};
use super::buffer::DmaBuffer;
use super::call::{Shared, received};
use super::disk::{Disk, UnitState};
use super::event::{DiskEvent, Events};
use super::lane::Lane;
use super::options::{ControllerKind, ControllerOptions};
use super::port::{Execute, JobData, LaneStatistics, Way};
use super::time::{Pause, SECOND, SharedRuntime, within};
use super::transport::Transport;
use crate::disk::{DiskError, SCAN_BUFFER_SIZE, Scan, ScanCommand, ScanProgress, Unit};
use crate::queue::Outcome;
use crate::wire::Version;

/// Least time between two scans that the host asks for, in units of 100 ns.
const SCAN_INTERVAL: u64 = SECOND / 10;

/// What was negotiated with a controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ControllerInfo {
    /// Kind.
    pub kind: ControllerKind,
    /// Storage protocol version in force.
    pub version: Version,
    /// Longest transfer of one request, in bytes.
    pub max_transfer_bytes: u32,
    /// Sub-channels that the host would serve.
    pub offered_sub_channels: u16,
    /// Sub-channels that the host will offer.
    pub granted_sub_channels: u16,
    /// Channels in use now, the primary one included.
    pub channels: usize,
}

/// A storage controller. Clones are handles to the same one.
#[derive(Clone)]
pub struct StorageController {
    shared: Arc<Shared>,
}

impl StorageController {
    /// Brings a controller up on its open primary channel.
    ///
    /// # Errors
    ///
    /// [`BringUpError`]. The channel has been closed then.
    pub async fn start<T: Transport>(
        mut transport: T,
        runtime: SharedRuntime,
        kind: ControllerKind,
        options: ControllerOptions,
    ) -> Result<Self, BringUpError> {
        let timeout = options.init_timeout;
        let result = bring_up(&mut transport, &runtime, options.init(), timeout).await;
        let mut negotiated = match result {
            Ok(negotiated) => negotiated,
            Err(error) => {
                let _ = transport.close().await;
                return Err(error);
            }
        };
        let (outgoing, _) = transport.rings();
        let limit = ring_limit(outgoing.largest_cost());
        negotiated.max_transfer_bytes = negotiated.max_transfer_bytes.min(limit);
        log::info!(
            "storage controller: version {}, transfers of {} bytes, {} of {} sub-channels",
            negotiated.version,
            negotiated.max_transfer_bytes,
            negotiated.sub_channels,
            negotiated.offered_sub_channels
        );
        let events = Arc::new(Events::new());
        let notify = notifier(&events);
        let lane = Lane::new(transport, &negotiated, options.queue_depth, notify)
            .map_err(|_| BringUpError::OutOfMemory)?;
        let shared = Shared::new(runtime, kind, options, negotiated, events, lane);
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Adds an open sub-channel. Gives it back if more are added than the host was asked for.
    ///
    /// # Errors
    ///
    /// The transport, not wanted; it is to be closed.
    pub fn add_sub_channel<T: Transport>(&self, transport: T) -> Result<(), T> {
        let negotiated = &self.shared.negotiated;
        let mut lanes = self.shared.lanes.lock();
        if lanes.len() > usize::from(negotiated.sub_channels) {
            return Err(transport);
        }
        let notify = notifier(&self.shared.events);
        let depth = self.shared.options.queue_depth;
        if let Ok(lane) = Lane::new(transport, negotiated, depth, notify) {
            lanes.push(lane);
        }
        Ok(())
    }

    /// What was negotiated.
    #[must_use]
    pub fn info(&self) -> ControllerInfo {
        let negotiated = &self.shared.negotiated;
        ControllerInfo {
            kind: self.shared.kind,
            version: negotiated.version,
            max_transfer_bytes: negotiated.max_transfer_bytes,
            offered_sub_channels: negotiated.offered_sub_channels,
            granted_sub_channels: negotiated.sub_channels,
            channels: self.shared.lanes.lock().len(),
        }
    }

    /// What each channel has counted, the primary one first.
    #[must_use]
    pub fn statistics(&self) -> Vec<LaneStatistics> {
        let lanes = self.shared.lanes.lock().clone();
        lanes.iter().map(|lane| lane.statistics()).collect()
    }

    /// The runtime given when it was opened, for [`within`].
    #[must_use]
    pub fn runtime(&self) -> &SharedRuntime {
        &self.shared.runtime
    }

    /// A zeroed buffer of `bytes` bytes.
    ///
    /// # Errors
    ///
    /// [`DiskError::OutOfMemory`].
    pub fn buffer(&self, bytes: usize) -> Result<DmaBuffer, DiskError> {
        DmaBuffer::new(&self.shared.platform, bytes).ok_or(DiskError::OutOfMemory)
    }

    /// The disks known from the last scan.
    #[must_use]
    pub fn disks(&self) -> Vec<Disk> {
        let units = self.shared.units.lock();
        let disk = |unit: &Arc<UnitState>| Disk::new(self.shared.clone(), unit.clone());
        units.iter().map(disk).collect()
    }

    /// Looks for disks, and at those known. Returns all that are there.
    ///
    /// Disks that cannot be used (an impossible block size, for instance) are logged and left out.
    ///
    /// # Errors
    ///
    /// [`DiskError::Closed`] if the controller is gone, [`DiskError::TimedOut`] if a command took
    /// longer than the options allow.
    pub async fn scan(&self) -> Result<Vec<Disk>, DiskError> {
        let _ = self.take_rescan();
        let found = self.find_units().await?;
        self.merge(&found, |_| ());
        Ok(self.disks())
    }

    /// Waits for the next change of the controller's disks. To be called from one task at a time.
    ///
    /// When the host announces a change, or a command meets one, this scans the controller and
    /// reports what is different. Dropping the future loses nothing but a scan's progress, which
    /// starts again with the next call.
    pub async fn next_event(&self) -> DiskEvent {
        let mut pause: Option<Pause> = None;
        loop {
            if let Some(event) = self.shared.events.pop() {
                return event;
            }
            self.shared.close_retired().await;
            if !self.shared.is_open() {
                return DiskEvent::ControllerGone;
            }
            if !self.take_rescan() {
                poll_fn(|context| self.shared.events.poll_news(context)).await;
                continue;
            }
            if let Some(pause) = pause.take() {
                pause.await;
            }
            pause = Some(Pause::new(&self.shared.runtime, SCAN_INTERVAL));
            // Put back if the scan is given up half-way.
            let again = RescanAgain(&self.shared.events);
            match self.find_units().await {
                Ok(found) => {
                    core::mem::forget(again);
                    self.merge(&found, |event| self.shared.events.push(event));
                }
                Err(DiskError::Closed) => core::mem::forget(again),
                Err(error) => log::warn!("scan for disks failed: {error}"),
            }
        }
    }

    fn take_rescan(&self) -> bool {
        let announced = self
            .shared
            .primary()
            .is_some_and(|primary| primary.take_rescan());
        self.shared.events.take_rescan() || announced
    }

    /// Closes the controller: no new requests, then the sub-channels, then the primary channel.
    ///
    /// Requests in flight are waited for as long as the options say, then they fail. `false`: the
    /// host did not acknowledge the close, and memory that it may still access was leaked.
    pub async fn close(self) -> bool {
        self.shared.close_retired().await;
        let mut lanes = self.shared.lanes.lock().clone();
        for lane in &lanes {
            lane.stop();
        }
        let timeout = self.shared.options.command_timeout;
        let idle = async {
            for lane in &lanes {
                poll_fn(|context| lane.poll_idle(context)).await;
            }
        };
        let _ = within(&self.shared.runtime, timeout, idle).await;
        let mut acknowledged = true;
        while let Some(lane) = lanes.pop() {
            acknowledged &= lane.close().await;
        }
        for unit in self.shared.units.lock().drain(..) {
            unit.remove();
        }
        acknowledged
    }

    async fn find_units(&self) -> Result<Vec<Unit>, DiskError> {
        let address = self.shared.kind.address();
        let only_unit_0 = matches!(self.shared.kind, ControllerKind::Ide { .. });
        let mut scan = Scan::new(address, only_unit_0, self.shared.options.retries);
        let mut buffer = Some(self.buffer(to_usize(SCAN_BUFFER_SIZE))?);
        while let Some(command) = scan.command() {
            let (outcome, data) = self.scan_command(&command, &mut buffer).await?;
            match scan.answer(&outcome, &data) {
                ScanProgress::Next | ScanProgress::Done => {}
                ScanProgress::NextAfter(pause) => Pause::new(&self.shared.runtime, pause).await,
                ScanProgress::Failed(error) => return Err(error),
            }
        }
        if scan.changed_meanwhile() {
            self.shared.events.request_rescan();
        }
        Ok(scan.into_units())
    }

    async fn scan_command(
        &self,
        command: &ScanCommand,
        buffer: &mut Option<DmaBuffer>,
    ) -> Result<(Outcome, Vec<u8>), DiskError> {
        let port = self.shared.primary().ok_or(DiskError::Closed)?;
        let data = if command.length == 0 {
            None
        } else {
            Some(JobData {
                buffer: buffer.take().ok_or(DiskError::OutOfMemory)?,
                way: Way::In,
                offset: 0,
                bytes: command.length,
            })
        };
        let execute = Execute::new(port, command.address, command.command, data);
        let timeout = self.shared.options.command_timeout;
        let (result, back) = within(&self.shared.runtime, timeout, execute)
            .await
            .map_err(|_| DiskError::TimedOut)?;
        let outcome = result?;
        let data = received(&outcome, back.as_ref());
        if back.is_some() {
            *buffer = back;
        }
        Ok((outcome, data))
    }

    /// Makes the known disks those found, and reports the differences.
    fn merge(&self, found: &[Unit], mut report: impl FnMut(DiskEvent)) {
        for unit in found {
            if let Some(problem) = unit.problem {
                let lun = unit.info.address.lun;
                log::warn!("logical unit {lun} cannot be used: {problem}");
            }
        }
        let mut events = Vec::new();
        let mut units = self.shared.units.lock();
        units.retain(|known| {
            let old = known.info();
            let new = found
                .iter()
                .find(|unit| unit.problem.is_none() && unit.info.is_same_disk(&old));
            match new {
                None => {
                    known.remove();
                    let disk = Disk::new(self.shared.clone(), known.clone());
                    events.push(DiskEvent::Removed(disk));
                }
                Some(unit) if unit.info != old => {
                    known.set_info(unit.info);
                    let disk = Disk::new(self.shared.clone(), known.clone());
                    events.push(DiskEvent::Changed(disk));
                }
                Some(_) => {}
            }
            new.is_some()
        });
        for unit in found.iter().filter(|unit| unit.problem.is_none()) {
            let address = unit.info.address;
            if !units.iter().any(|known| known.info().address == address) {
                let state = Arc::new(UnitState::new(unit.info));
                units.push(state.clone());
                let disk = Disk::new(self.shared.clone(), state);
                events.push(DiskEvent::Added(disk));
            }
        }
        units.sort_by_key(|unit| unit.info().address);
        drop(units);
        events.into_iter().for_each(&mut report);
    }
}

/// Asks for another scan unless it is forgotten.
struct RescanAgain<'a>(&'a Events);

impl Drop for RescanAgain<'_> {
    fn drop(&mut self) {
        self.0.request_rescan();
    }
}

/// Longest transfer in bytes of which the ring holds four at a time, whatever their place in their
/// first page.
fn ring_limit(largest_cost: u32) -> u32 {
    // 104 bytes and 8 for each page; one page more than the transfer has if it starts inside one.
    let pages = (largest_cost / 4).saturating_sub(104) / 8;
    pages.saturating_sub(1).max(1).saturating_mul(4096)
}

fn notifier(events: &Arc<Events>) -> Box<dyn Fn() + Send + Sync> {
    let events = Arc::downgrade(events);
    Box::new(move || {
        if let Some(events) = events.upgrade() {
            events.notify();
        }
    })
}

fn to_usize(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

impl fmt::Debug for StorageController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorageController")
            .field("info", &self.info())
            .finish_non_exhaustive()
    }
}
