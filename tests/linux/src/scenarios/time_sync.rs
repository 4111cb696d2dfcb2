//! `hv_utils` sets the guest's clock when the host says so.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::context::Context;
use crate::guest::Guest;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// A clock that is wrong.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "time-sync",
    about: "a clock that was set wrong by hours is set right by order, and not by the samples between",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(40),
    run,
};

const HOUR: i64 = 3600;

/// How far a clock may be off and still count as right, in seconds: it is read over a slow line.
const NEAR: i64 = 300;

fn run(context: &mut Context) -> Result<(), Trouble> {
    let machine = context.machine();
    let mut guest = context.start(&machine)?;
    guest.ctl_until(&["status"], |status| {
        status["time_sync"]
            .as_str()
            .is_some_and(|text| text.starts_with("ready 4"))
    })?;
    // The first message after the negotiation sets the clock.
    guest.ctl_until(&["inspect"], |state| number(state, "syncs") >= 1)?;
    wait_for(&mut guest, 0)?;
    for wrong in [5 * HOUR, -7 * HOUR] {
        let now = seconds() + wrong;
        guest.sh(&format!("date -s @{now}"))?;
        let samples = number(&guest.ctl(&["inspect"])?, "samples");
        guest.ctl_until(&["inspect"], |state| {
            number(state, "samples") > samples && number(state, "answered") > samples + 1
        })?;
        ensure((ahead(&mut guest)? - wrong).abs() < NEAR, || {
            "a sample has set the clock".to_owned()
        })?;
        guest.ctl(&["time-sync"])?;
        wait_for(&mut guest, 0).map_err(|trouble| trouble.during(&format!("{wrong} s")))?;
    }
    // A guest believes its host.
    let offset = 30 * 24 * HOUR;
    guest.ctl(&["time-sync", "--offset", &offset.to_string()])?;
    wait_for(&mut guest, offset)?;
    let state = guest.ctl(&["inspect"])?;
    ensure(number(&state, "refused") == 0, || {
        format!("the guest refuses times: {}", state["time_sync"])
    })?;
    context.note(format!("{}", state["time_sync"]));
    Ok(())
}

fn number(state: &Value, counter: &str) -> u64 {
    state["time_sync"][counter].as_u64().unwrap_or_default()
}

fn seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().cast_signed())
}

/// How far the guest's clock is ahead of this one, in seconds.
fn ahead(guest: &mut Guest) -> Result<i64, Trouble> {
    let there = guest.sh("date +%s")?;
    let there: i64 = there
        .parse()
        .map_err(|_| Trouble::failed(format!("the guest's date is {there:?}")))?;
    Ok(there - seconds())
}

/// Waits until the guest's clock is so far ahead.
fn wait_for(guest: &mut Guest, expected: i64) -> Result<(), Trouble> {
    let (low, high) = (expected - NEAR, expected + NEAR);
    let now = seconds();
    guest.wait_until(&format!(
        "t=$(($(date +%s)-{now})); [ $t -gt {low} ] && [ $t -lt {high} ]"
    ))
}
