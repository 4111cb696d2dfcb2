//! Where the guest is to run.

use host_sim::partition::kvm::{self, EMULATION_LIMIT_MIPS};

use super::Error;
use super::arguments::BackendChoice;
use super::report::BackendReport;

/// Chooses the back end and says why.
pub(super) fn choose(choice: BackendChoice) -> Result<BackendReport, Error> {
    if choice == BackendChoice::Inproc {
        return Ok(BackendReport {
            name: "inproc",
            reason: "as asked".to_owned(),
            kvm_mips: None,
        });
    }
    let probe = kvm::probe();
    let mips = probe.as_ref().ok().map(|probe| probe.mips);
    match (choice, probe) {
        (BackendChoice::Kvm, Err(error)) => Err(Error::failed(error)),
        (BackendChoice::Kvm, Ok(probe)) => Ok(BackendReport {
            name: "kvm",
            reason: format!(
                "as asked; KVM runs {:.1} million instructions a second",
                probe.mips
            ),
            kvm_mips: mips,
        }),
        (_, Ok(probe)) if probe.emulates() => Ok(BackendReport {
            name: "inproc",
            reason: format!(
                "KVM only emulates here: {:.1} million instructions a second, under {EMULATION_LIMIT_MIPS}",
                probe.mips
            ),
            kvm_mips: mips,
        }),
        (_, Ok(probe)) => Ok(BackendReport {
            name: "kvm",
            reason: format!("KVM runs {:.0} million instructions a second", probe.mips),
            kvm_mips: mips,
        }),
        (_, Err(error)) => Ok(BackendReport {
            name: "inproc",
            reason: format!("KVM is not usable: {error}"),
            kvm_mips: None,
        }),
    }
}
