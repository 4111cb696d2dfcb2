//! `host-sim run`: a guest, its devices, and the report about both.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use host_sim::boot::elf::{self, Program};
use host_sim::host::{Host, Traffic};
use host_sim::hv::Hv;
use host_sim::ic::shutdown::Order;
use host_sim::output::Standard;
use ic_services::shutdown::Action;

use super::Error;
use super::arguments::{BackendChoice, Recommend, RunOptions};
use super::backend::{self, choose};
use super::control::{self, Orders};
use super::demo::{self, Hashes};
use super::guest::{self, Ending, GuestConfig, Started};
use super::linux;
use super::report::{GuestReport, Measured, Report};
use super::setup;

/// Least memory for a guest: image, stacks, rings and buffers.
const LEAST_MEMORY: u64 = 16 << 20;
/// How often the run is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Heartbeats that a demo waits for.
const DEMO_BEATS: u64 = 2;
/// Time that a guest has to power off after it was ordered to.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the guest's reports lead to while it runs.
#[derive(Default)]
struct Notes {
    report: GuestReport,
    begin: Option<(Traffic, u64)>,
    end: Option<(Traffic, u64)>,
}

/// The counters that a note is taken of.
struct Counters {
    host: Arc<Host>,
    hv: Arc<Hv>,
}

impl Counters {
    /// Traffic, and what made virtual processors exit: hypercalls and accesses to synthetic MSRs.
    fn read(&self) -> (Traffic, u64) {
        let counters = self.hv.counters();
        let msrs = counters
            .msr_reads
            .values()
            .chain(counters.msr_writes.values())
            .sum::<u64>();
        (self.host.traffic(), counters.total_hypercalls() + msrs)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn run(options: &RunOptions) -> Result<(), Error> {
    if options.memory.0 < LEAST_MEMORY || !options.memory.0.is_multiple_of(4096) {
        return Err(Error::usage(format!(
            "{} bytes of guest memory: it must be whole pages and 16 MiB at least",
            options.memory.0
        )));
    }
    let Some(path) = &options.guest else {
        return linux::run(options);
    };
    let bytes = guest::read_image(path)?;
    let image = elf::parse(&bytes).map_err(Error::failed)?;
    let disks = setup::open_disks(&options.disks)?;
    let host_options = setup::host_options(options, &disks)?;
    let mut backend = choose(options.backend)?;
    let has_twin = image.program.as_ref() == Some(&Program::linked_twin());
    if options.backend == BackendChoice::Auto && backend.name == "inproc" && !has_twin {
        // Only a CPU, however slow, can run a program that we don't have.
        backend = backend::choose(BackendChoice::Kvm)?;
    }

    let notes = Arc::new(Mutex::new(Notes::default()));
    let counters: Arc<OnceLock<Counters>> = Arc::default();
    let slow = backend.name == "kvm" && backend.kvm_mips.is_some_and(demo::is_slow);
    let config = GuestConfig {
        image: &image,
        path,
        cpus: options.cpus,
        pin: &options.pin,
        recommended: Recommend::recommendations(&options.recommend),
        memory: options.memory.0,
        command_line: demo::command_line(options, slow),
        on_console: console(options.json),
        on_report: {
            let (notes, counters) = (Arc::clone(&notes), Arc::clone(&counters));
            let show = !options.demo && !options.json;
            Box::new(move |line| {
                if show {
                    announce!("report: {line}");
                }
                take_note(&mut lock(&notes), counters.get(), line);
            })
        },
    };
    let prepared = guest::prepare(backend.name, config)?;
    let host = Host::new(prepared.hv(), prepared.memory(), host_options).map_err(Error::failed)?;
    let host = Arc::new(host);
    let _ = counters.set(Counters {
        host: Arc::clone(&host),
        hv: Arc::clone(prepared.hv()),
    });
    let orders = Orders::new(false);
    let _control = control::serve(options.name.as_deref(), &host, prepared.hv(), &orders)
        .inspect_err(|_| host.bus.shut_down())?;
    let hashes = options.demo.then(|| Hashes::start(&disks.read_only));

    let mut guest = prepared.start()?;
    let ending = supervise(options, &mut guest, &host, &notes, hashes.as_ref(), &orders);
    guest.stop();
    let heartbeat = host.services.heartbeat.status();
    let last_fault = host.bus.snapshot().last_fault;
    host.bus.shut_down();
    let failures = last_fault
        .into_iter()
        .map(|fault| format!("a channel broke: {fault}"));

    if !options.demo {
        announce!("host-sim: {}", ending.text);
        return if ending.is_clean {
            Ok(())
        } else {
            Err(Error::failed("the guest failed"))
        };
    }
    let notes = std::mem::take(&mut *lock(&notes));
    let report = Report {
        backend,
        cpus: options.cpus,
        guest: notes.report,
        host_sha256: hashes.map_or_else(BTreeMap::new, Hashes::finish),
        heartbeat,
        measured: notes
            .begin
            .zip(notes.end)
            .map_or_else(Measured::default, |(begin, end)| {
                Measured::between(begin, end)
            }),
        outcome: ending.text.clone(),
        failures: failures.collect(),
    };
    demo::conclude(report, &ending, options.json)
}

/// Where the guest's console goes: with `--json`, standard output is the report's.
fn console(json: bool) -> Box<dyn Fn(&str) + Send + Sync> {
    if json {
        Box::new(|line| {
            let _ = Standard::Error.write_all(format!("guest: {line}\n").as_bytes());
        })
    } else {
        Box::new(|line| announce!("guest: {line}"))
    }
}

fn take_note(notes: &mut Notes, counters: Option<&Counters>, line: &str) {
    match (line.trim_end(), counters) {
        ("phase=measure-begin", Some(counters)) => notes.begin = Some(counters.read()),
        ("phase=measure-end", Some(counters)) => notes.end = Some(counters.read()),
        (line, _) => notes.report.take(line),
    }
}

/// The moment in so many seconds; none if the clock does not reach that far.
fn limit(seconds: u64) -> Option<Instant> {
    Instant::now().checked_add(Duration::from_secs(seconds))
}

/// Waits for the end of the run; a demo's guest is ordered to shut down when it has shown everything.
fn supervise(
    options: &RunOptions,
    guest: &mut Started,
    host: &Host,
    notes: &Mutex<Notes>,
    hashes: Option<&Hashes>,
    orders: &Orders,
) -> Ending {
    let limit = options.timeout.and_then(limit);
    let mut ordered = None;
    loop {
        if let Some(ending) = guest.wait_for(LOOK) {
            return ending;
        }
        if orders.is_quit() {
            Standard::end_by_order();
            guest.stop();
            return Ending {
                text: "stopped by order".to_owned(),
                is_clean: !options.demo,
            };
        }
        let now = Instant::now();
        let overdue = |end: Option<Instant>| end.is_some_and(|end| now > end);
        if overdue(limit) || overdue(ordered) {
            Standard::end_by_order();
            guest.stop();
            let text = if ordered.is_some() {
                "stopped by force: the guest did not shut down as ordered"
            } else {
                "stopped by force: out of time"
            };
            return Ending {
                text: text.to_owned(),
                is_clean: false,
            };
        }
        let is_done = || {
            let ready = lock(notes).report.get("state") == Some("ready");
            ready
                && hashes.is_none_or(Hashes::are_done)
                && host.services.heartbeat.status().answered >= DEMO_BEATS
        };
        if options.demo && ordered.is_none() && is_done() {
            let mut order = Order::new(Action::PowerOff);
            order.text = "the demo is over".to_owned();
            if host.services.shutdown.order(&order).is_ok() {
                ordered = Some(now + PATIENCE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_beyond_the_clock_are_none() {
        assert!(limit(60).is_some());
        assert_eq!(limit(u64::MAX), None);
    }
}
