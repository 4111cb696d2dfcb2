//! Measures what a boot costs, where scenarios run.

use std::path::Path;

use linux_guest_tests::boot_cost::{BootCost, MEASUREMENT};
use linux_guest_tests::plan::{Job, Outcome};

use super::carried::Carried;
use super::kernels::{SOURCES, Store};
use super::place::{self, Guest, Nested, PAYLOAD_FOLDER, Place, Programs};
use super::{images, progress, rounds, wait_for_turn};
use crate::run::{self, Error, say};

/// A measurement may meet with what an emulated processor does now and then.
const EMULATED_TRIES: usize = 2;

/// What was measured, and where.
pub(crate) struct Measured {
    pub(crate) cost: BootCost,
    /// The kernel's idea of its release.
    pub(crate) release: String,
    /// Whether guests ran nested in an emulated machine.
    pub(crate) nested: bool,
    /// Why there is no QEMU to measure.
    pub(crate) without_qemu: Option<String>,
}

/// Boots the same kernel with `host-sim` and with QEMU, in turns, and measures.
///
/// # Errors
/// Nothing could be built or fetched, or `host-sim` did not get its guest to init.
pub(crate) fn measure() -> Result<Measured, Error> {
    let name = MEASUREMENT.kernels[0];
    let programs = Programs::build()?;
    let folder = run::target_dir().join("bench-boot");
    let _turn = wait_for_turn()?;
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    let is_nested = !place::kvm_is_real(&programs.host_sim);
    let mut store = Store::open()?;
    let source = SOURCES.iter().find(|source| source.name == name);
    let source = source.ok_or_else(|| Error::new(format!("no kernel is called {name}")))?;
    let kernel = store.kernel(source)?;
    let nested = is_nested.then(|| Nested::prepare(&mut store, &kernel, &folder));
    let nested = nested.transpose()?;
    let qemu = if is_nested {
        Carried::qemu_packed(&mut store, Path::new(PAYLOAD_FOLDER))
    } else {
        Carried::qemu_here(&mut store)
    };
    let (qemu, without_qemu) = match qemu {
        Ok(qemu) => (Some(qemu), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let release = kernel.release.clone();
    let initramfs = images::first_line(&kernel)?;
    let place = Place {
        programs: &programs,
        guests: &[Guest { kernel, initramfs }],
        folder: &folder,
        keep: false,
        whole: false,
        nested,
        qemu,
        passt: None,
    };
    say("booting a stock kernel with host-sim and with QEMU, in turns");
    let job = Job {
        scenario: MEASUREMENT.name.to_owned(),
        kernel: name.to_owned(),
        cpus: 1,
    };
    let tries = if is_nested { EMULATED_TRIES } else { 1 };
    let reports = rounds::run(vec![job], is_nested, tries, &mut |jobs| {
        place.attempt(jobs, &mut |report, lines| {
            if matches!(report.outcome, Outcome::Failed(_)) {
                progress(report, lines);
            }
        })
    })?;
    let mut reports = reports.into_iter();
    let report = reports
        .next()
        .ok_or_else(|| Error::new("nothing was measured"))?;
    if let Outcome::Failed(reason) | Outcome::Skipped(reason) = report.outcome {
        return Err(Error::new(format!("boots could not be measured: {reason}")));
    }
    let mut notes = report.notes.iter();
    let cost = notes.find_map(|note| BootCost::from_note(note));
    Ok(Measured {
        cost: cost.ok_or_else(|| Error::new("the runner told no figures"))?,
        release,
        nested: is_nested,
        without_qemu,
    })
}
