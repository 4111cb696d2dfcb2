//! What is looked at when a run is over.

use vmbus_core::version::ProtocolVersion;

use super::plan::Execution;
use super::run::{Report, Simulation};
use super::world::Totals;
use crate::machine::Machine;

impl Simulation {
    /// Looks for anything that is wrong, or left behind, after the guest's end.
    pub(super) fn examine(mut self, machine: Machine, free_pages: u64) -> Report {
        let world = self.world.clone();
        let plan = &world.plan;
        let totals = *world.totals.borrow();
        self.examine_disks();
        // The guest has flushed at last: now nothing at all may be lost.
        self.cut_power();
        let snapshot = self.host.bus.snapshot();
        assert_eq!(
            snapshot.faults, 0,
            "the guest broke a channel: {snapshot:#?}"
        );
        assert!(
            snapshot.open.is_empty(),
            "channels stay open: {snapshot:#?}"
        );
        let server = &snapshot.server;
        assert_eq!(server.gpadls, 0, "memory stays lent: {snapshot:#?}");
        let counters = &server.counters;
        assert_eq!(
            (
                counters.malformed,
                counters.unexpected,
                counters.gpadls_refused,
                counters.connections
            ),
            (0, 0, 0, 1),
            "{snapshot:#?}"
        );
        if self.chaos.rescinds == 0 {
            assert_eq!(counters.opens_refused, 0);
        }
        let received = self.bus.counters();
        assert_eq!(
            received.dropped(),
            0,
            "the guest dropped messages: {received:?}"
        );
        assert_eq!(received.not_posted, 0, "{received:?}");
        for vp in 0..plan.vp_count {
            assert_eq!(self.partition.dropped_interrupts(vp), 0);
        }
        self.examine_commands(&totals);

        let mut log = self.world.log.borrow_mut();
        log.mix((totals, self.chaos, self.steps, self.world.now()));
        log.mix(format!("{snapshot:?} {received:?}"));
        for lun in 0..plan.luns {
            log.mix(self.host.content(lun));
        }
        let report = Report {
            hash: log.hash(),
            steps: self.steps,
            totals,
            chaos: self.chaos,
        };
        drop(log);

        let was_confirmed = self.bus.agreement().is_none() && plan.vmbus != ProtocolVersion::V0_13;
        drop((self.tasks, self.bus));
        self.world.models.take();
        machine.stop();
        // Three pages of a connection without a confirmed end are leaked on purpose.
        let leaked = free_pages - self.partition.free_pages();
        assert!(
            leaked == 0 || (!was_confirmed && leaked == 3),
            "{leaked} pages are not given back"
        );
        report
    }

    /// The images hold what the guest may expect.
    fn examine_disks(&self) {
        let now = self.world.moment();
        let mut models = self.world.models.borrow_mut();
        for (lun, model) in (0..).zip(models.iter_mut()) {
            let content = self.host.content(lun);
            assert_eq!(self.host.sectors(lun), u64::from(self.world.plan.blocks));
            if let Err(what) = model.check_read(0, &content, now, now) {
                panic!("image: {what}");
            }
        }
    }

    /// Both ends have counted the same commands.
    fn examine_commands(&self, totals: &Totals) {
        let hosts = self.host.counters();
        let commands: u64 = hosts.iter().map(|counters| counters.commands).sum();
        for counters in &hosts {
            assert_eq!(
                (counters.malformed, counters.dropped),
                (0, 0),
                "{counters:?}"
            );
        }
        // A command that the host has executed may have been cancelled on its way back, and the other way round one
        // that was sent may never have been read.
        assert!(
            commands >= totals.completed,
            "{commands} commands, {totals:?}"
        );
        if self.chaos.rescinds == 0 {
            assert_eq!(commands, totals.submitted, "{totals:?}");
            assert_eq!(totals.cancelled, 0, "{totals:?}");
        }
        if self.world.plan.execution != Execution::Picked {
            assert_eq!(self.host.picked.waiting(), 0);
        }
    }
}
