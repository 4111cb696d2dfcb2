//! A guest that is restarted, by order, by force or by itself, finds a bus without leftovers.

use std::time::Duration;

use serde_json::Value;

use crate::context::Context;
use crate::guest::Guest;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// Restart, reset, power button, quit.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "restart",
    about: "an ordered restart and a reset boot again in the same process, with the same channels; power button; quit",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(60),
    run,
};

fn run(context: &mut Context) -> Result<(), Trouble> {
    let disk = context.random_image("disk", 4, 3)?;
    let mut machine = context.machine().disk(&disk, &["ro"]);
    machine = machine.arguments(["--nic", "none"]);
    machine.reboots = true;
    let mut guest = context.start(&machine)?;
    let first = Bus::settled(&mut guest)?;
    let sum = read(&mut guest)?;

    guest.ctl_until(&["status"], |status| status["shutdown"] == "ready")?;
    again(
        &mut guest,
        &["shutdown", "--action", "restart", "--wait", "30"],
    )?;
    ensure(
        guest.console().contains("reboot: Restarting system"),
        || "the kernel does not say that it restarts".to_owned(),
    )?;
    first.check(&mut guest, "after the restart")?;
    ensure(read(&mut guest)? == sum, || {
        "other bytes after the restart".to_owned()
    })?;

    // While it writes and reads.
    guest.sh("(while :; do sha256sum /dev/sd?; done) > /dev/null 2>&1 &")?;
    again(&mut guest, &["reset"])?;
    first.check(&mut guest, "after the reset")?;
    ensure(read(&mut guest)? == sum, || {
        "other bytes after the reset".to_owned()
    })?;

    power_button(&mut guest)?;
    guest.ctl(&["quit"])?;
    let status = guest.wait_for_end()?;
    ensure(status.success(), || format!("host-sim ended with {status}"))?;
    ensure(guest.host_output().contains("stopped by order"), || {
        "host-sim does not say why it stopped".to_owned()
    })
}

/// Gives an order after which the guest must boot again.
fn again(guest: &mut Guest, order: &[&str]) -> Result<(), Trouble> {
    let before = guest.boot_id()?;
    guest.ctl(order)?;
    guest
        .wait_for_reboot(&before)
        .map_err(|trouble| trouble.during(&order.join(" ")))
}

fn read(guest: &mut Guest) -> Result<String, Trouble> {
    let disk = guest.disk(0)?;
    guest.sh(&format!("sha256sum < /dev/{disk}"))
}

/// What the host knows of the guest's bus.
#[derive(PartialEq, Debug)]
pub(super) struct Bus {
    version: Value,
    /// Class, instance, index and phase of each channel.
    channels: Vec<String>,
    gpadls: Value,
    open: usize,
}

impl Bus {
    fn of(state: &Value) -> Self {
        let server = &state["bus"]["server"];
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let describe = |channel: Value| {
            format!(
                "{} {} {} {}",
                channel["class"],
                channel["instance"],
                channel["sub_channel_index"],
                channel["phase"]
            )
        };
        let mut channels: Vec<_> = list(&server["channels"])
            .into_iter()
            .map(describe)
            .collect();
        channels.sort();
        Self {
            version: server["version"].clone(),
            channels,
            gpadls: server["gpadls"].clone(),
            open: list(&state["bus"]["open"]).len(),
        }
    }

    /// The bus of a guest whose drivers have opened what they open.
    pub(super) fn settled(guest: &mut Guest) -> Result<Self, Trouble> {
        guest.disk(0)?;
        guest.wait_until("[ -e /sys/class/net/eth0 ]")?;
        let mut last = Self::of(&guest.ctl(&["inspect"])?);
        for _ in 0..20 {
            guest.sh("sleep 0.5")?;
            let next = Self::of(&guest.ctl(&["inspect"])?);
            if next == last && next.open > 0 {
                return Ok(next);
            }
            last = next;
        }
        Err(Trouble::failed(format!(
            "the bus does not settle: {last:?}"
        )))
    }

    /// Fails unless the guest has the same bus now, and has broken nothing.
    pub(super) fn check(&self, guest: &mut Guest, when: &str) -> Result<(), Trouble> {
        let now = Self::settled(guest)?;
        ensure(now == *self, || {
            format!("{when} the bus is {now:?}, not {self:?}")
        })?;
        let status = guest.ctl(&["status"])?;
        ensure(status["faults"] == 0, || format!("{when}: {status}"))?;
        guest
            .ctl_until(&["heartbeat"], |beat| beat["contact"] == "ok")
            .map(|_| ())
    }
}

/// The guest gets the key of the power button. What it does then is the matter of its user space.
fn power_button(guest: &mut Guest) -> Result<(), Trouble> {
    let find = "grep -l '^Power Button' /sys/class/input/event*/device/name";
    guest.wait_until(find)?;
    let event = guest.sh(&format!("{find} | head -n 1 | cut -d/ -f5"))?;
    guest.sh(&format!(
        "(dd if=/dev/input/{event} of=/run/key bs=24 count=1) > /dev/null 2>&1 &"
    ))?;
    guest.sh("sleep 1")?;
    guest.ctl(&["power-button"])?;
    guest.wait_until("[ -s /run/key ]")?;
    let event = guest.sh("hexdump -v -e '1/2 \"%u \"' /run/key")?;
    let words: Vec<_> = event.split_whitespace().skip(8).collect();
    // EV_KEY, KEY_POWER, pressed.
    ensure(words == ["1", "116", "1", "0"], || {
        format!("the power button's event is {event:?}")
    })
}
