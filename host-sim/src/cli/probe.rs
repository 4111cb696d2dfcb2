//! `host-sim probe`: what can this machine's KVM do?

use host_sim::partition::kvm;
use serde_json::json;

use super::Error;

pub(crate) fn run(json: bool) -> Result<(), Error> {
    let probe = kvm::probe();
    if json {
        let report = match &probe {
            Ok(probe) => {
                json!({ "usable": true, "emulates": probe.emulates(), "mips": probe.mips })
            }
            Err(error) => json!({ "usable": false, "reason": error.to_string() }),
        };
        say!("{report}");
        return Ok(());
    }
    match probe {
        Ok(probe) if probe.emulates() => say!(
            "KVM is usable, but only emulates the processor: {:.1} million instructions a second",
            probe.mips
        ),
        Ok(probe) => say!(
            "KVM is usable: {:.0} million instructions a second",
            probe.mips
        ),
        Err(error) => say!("KVM is not usable: {error}"),
    }
    Ok(())
}
