//! Controllers and disks against a host that serves test disks.

mod buffers;
mod changes;
mod faults;
mod flow;
mod hostile;
mod moves;

use std::boxed::Box;
use std::sync::Arc;
use std::vec::Vec;

use super::{ControllerKind, ControllerOptions, Disk, SharedRuntime, StorageController};
use crate::testing::host::TestHost;
use crate::testing::machine::{Machine, run};
use crate::testing::target::{Target, TestDisk};

/// A machine with one controller.
struct Rig {
    machine: Arc<Machine>,
    host: TestHost,
    controller: StorageController,
}

impl Rig {
    fn with(target: Target, ring: u32, options: ControllerOptions) -> Self {
        let machine = Arc::new(Machine::default());
        let host = TestHost::new(target);
        let runtime: SharedRuntime = machine.clone();
        let transport = host.open(ring);
        let start = StorageController::start(transport, runtime, ControllerKind::Scsi, options);
        let controller = run(&machine, &host, start).unwrap();
        Self {
            machine,
            host,
            controller,
        }
    }

    /// A controller with one disk of `blocks` blocks of `size` bytes.
    fn new(blocks: u64, size: u32) -> Self {
        let target = Target::with_disk(TestDisk::new(blocks, size));
        Self::with(target, 1 << 16, ControllerOptions::default())
    }

    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        run(&self.machine, &self.host, future)
    }

    fn disks(&self) -> Vec<Disk> {
        self.run(self.controller.scan()).unwrap()
    }

    fn disk(&self) -> Disk {
        self.disks().remove(0)
    }

    /// Runs tasks that are polled only when woken, and no timer.
    fn run_all<'a>(&self, tasks: Vec<core::pin::Pin<Box<dyn Future<Output = ()> + 'a>>>) {
        crate::testing::machine::run_all(&self.machine, &self.host, false, tasks);
    }
}

/// Bytes that tell their place.
fn pattern(seed: u64, length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|at| (seed.wrapping_mul(31).wrapping_add(at.wrapping_mul(7)) ^ at >> 8) as u8)
        .collect()
}
