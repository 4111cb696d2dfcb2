//! What the scenarios of Debian's `hyperv-daemons` have in common.

use serde_json::Value;

use crate::guest::Guest;
use crate::scenario::{Trouble, ensure};

/// Starts a daemon in the guest, and waits until the service that it serves (as `host-sim ctl NAME status` calls it) is
/// ready.
pub(super) fn start(guest: &mut Guest, daemon: &str, service: &str) -> Result<(), Trouble> {
    // The helpers of the daemon are written for bash; busybox understands them as well.
    guest.sh(&format!(
        "[ -e /bin/bash ] || {{ printf '#!/bin/busybox sh\\nexec /bin/busybox sh \"$@\"\\n' > /bin/bash; chmod 755 /bin/bash; }}
         mkdir -p /var/lib/hyperv; {daemon}"
    ))?;
    let ready = |status: &Value| {
        status[service]
            .as_str()
            .is_some_and(|link| link.starts_with("ready"))
    };
    guest.ctl_until(&["status"], ready).map(|_| ())
}

/// Gives an order that must be refused, with an error that says `text`.
pub(super) fn refused(guest: &Guest, order: &[&str], text: &str) -> Result<(), Trouble> {
    match guest.ctl(order) {
        Ok(answer) => Err(Trouble::failed(format!(
            "`{}` was not refused: {answer}",
            order.join(" ")
        ))),
        Err(trouble) => {
            let reason = trouble.to_string();
            ensure(reason.contains(text), || {
                format!("the refusal does not say \"{text}\": {reason}")
            })
        }
    }
}
