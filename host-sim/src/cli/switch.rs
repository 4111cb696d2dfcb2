//! `host-sim switch`: a switch between guests that outlives all of them.

use std::path::{Path, PathBuf};

use clap::Args;
use host_sim::net::switch::{Switch, SwitchCounters};
use nix::sys::signal::{SigSet, Signal};
use serde::Serialize;

use super::Error;

#[derive(Args, Debug)]
pub(crate) struct SwitchOptions {
    /// The Unix socket to listen at, for `host-sim run --nic switch:PATH`; only its owner and root can open it
    path: PathBuf,
    /// Print a JSON object a line: when it listens, and what it has done at its end
    #[arg(long)]
    json: bool,
}

/// What is told as JSON.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
    Listening { path: &'a str },
    Ended(SwitchCounters),
}

/// Serves until SIGINT or SIGTERM.
pub(crate) fn run(options: &SwitchOptions) -> Result<(), Error> {
    // Blocked before there are other threads, which inherit that: the signals wait for this one.
    let mut ending = SigSet::empty();
    ending.add(Signal::SIGINT);
    ending.add(Signal::SIGTERM);
    ending
        .thread_block()
        .map_err(|error| Error::failed(format!("signals: {error}")))?;
    let switch = Switch::listen(&options.path).map_err(Error::failed)?;
    tell_start(&options.path, options.json);
    ending
        .wait()
        .map_err(|error| Error::failed(format!("signals: {error}")))?;
    let counters = switch.counters();
    drop(switch);
    tell_end(counters, options.json);
    Ok(())
}

fn tell_start(path: &Path, json: bool) {
    let path = path.display().to_string();
    if json {
        tell(&Event::Listening { path: &path });
    } else {
        say!("the switch listens at {path}");
    }
}

fn tell_end(counters: SwitchCounters, json: bool) {
    if json {
        tell(&Event::Ended(counters));
    } else {
        let SwitchCounters {
            forwarded,
            flooded,
            dropped,
            ..
        } = counters;
        say!("frames: {forwarded} to one port, {flooded} to all, {dropped} dropped");
    }
}

fn tell(event: &Event<'_>) {
    // Text and numbers: there is nothing that cannot be written.
    if let Ok(text) = serde_json::to_string(event) {
        say!("{text}");
    }
}
