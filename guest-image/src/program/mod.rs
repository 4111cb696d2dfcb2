//! The guest's program: meets the hypervisor, connects to VMBus, shows its disks, answers heartbeats, and ends when
//! the host says so.
//!
//! Every fact is told twice: as text on the console, and as `key=value` on the report channel. Words of the command
//! line change what it does:
//!
//! | Word | Meaning |
//! |---|---|
//! | `demo` | hash every read-only disk, write to every other one, measure; without it, only describe the disks |
//! | `slow` | do little of everything: the processor is emulated |
//! | `write-load=SEED:FIRST` | write to the first writable disk until the machine dies: [`write_load`] |
//! | `vmbus=V` | newest VMBus version to propose, such as `5.3` |

mod bring_up;
pub mod disk;
pub mod partition_table;
mod services;
pub mod write_load;

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;

use ic_services::shutdown::{Action, Order};
use vmbus_core::bus::{Bus, BusOptions, Offer};
use vmbus_core::platform::Runtime;
use vmbus_core::version::ProtocolVersion;
use vmbus_core::{class, executor};
use vsc_storage::front::{ControllerOptions, Disk, StorageController};

use crate::environment::Environment;
use disk::{Show, Work};
use write_load::WriteLoad;

/// Power-off status of a program that could not do its work.
const STATUS_FAILED: u8 = 1;

/// The bus of this environment.
type EnvironmentBus<E> = Bus<<E as Environment>::Runtime, <E as Environment>::Processor>;

/// Why the program cannot go on, in a sentence.
#[derive(Debug)]
struct Failure(String);

impl Failure {
    fn new(what: &str, why: impl fmt::Display) -> Self {
        Self(alloc::format!("{what}: {why}"))
    }
}

/// Tells a fact on both channels.
fn tell<E: Environment>(environment: &E, key: &str, value: fmt::Arguments<'_>) {
    environment.print(format_args!("{key}: {value}\n"));
    environment.report(format_args!("{key}={value}\n"));
}

/// Runs the program and returns the machine's power-off status: 0 for success.
pub fn run(environment: &impl Environment) -> u8 {
    match program(environment) {
        Ok(order) => {
            environment.print(format_args!("{order:?} ordered by the host, done\n"));
            0
        }
        Err(Failure(why)) => {
            tell(environment, "failure", format_args!("{why}"));
            STATUS_FAILED
        }
    }
}

/// What the command line asks for.
#[derive(Clone, Copy)]
struct Plan {
    demo: bool,
    slow: bool,
    newest: ProtocolVersion,
    write_load: Option<WriteLoad>,
}

impl Plan {
    fn read(command_line: &str) -> Self {
        let mut plan = Self {
            demo: false,
            slow: false,
            newest: ProtocolVersion::NEWEST,
            write_load: None,
        };
        for word in command_line.split_ascii_whitespace() {
            match word.split_once('=') {
                None if word == "demo" => plan.demo = true,
                None if word == "slow" => plan.slow = true,
                Some(("write-load", load)) => plan.write_load = WriteLoad::parse(load),
                Some(("vmbus", version)) => {
                    let known = ProtocolVersion::ALL_NEWEST_FIRST;
                    let found = known.into_iter().find(|known| known.to_string() == version);
                    plan.newest = found.unwrap_or(plan.newest);
                }
                _ => {}
            }
        }
        plan
    }
}

fn program<E: Environment>(environment: &E) -> Result<Order, Failure> {
    let plan = Plan::read(environment.command_line());
    let runtime = environment.runtime();
    let mut machine = bring_up::meet_hypervisor(environment)?;
    let options = BusOptions {
        newest: plan.newest,
        ..BusOptions::default()
    };
    let connecting = Bus::connect(Arc::clone(&runtime), machine.boot_processor(), options);
    let bus = executor::block_on(&*runtime, connecting, || ())
        .map_err(|error| Failure::new("VMBus", error))?;
    if let Some(version) = bus.version() {
        tell(environment, "vmbus.version", format_args!("{version}"));
    }
    machine.start_other_processors(environment, &bus)?;

    let boot = machine.boot_vp();
    let order = executor::block_on(&*runtime, life(environment, plan, &bus), || {
        bus.dispatch(boot)
    })?;
    executor::block_on(&*runtime, bus.disconnect(), || bus.dispatch(boot))
        .map_err(|error| Failure::new("leaving VMBus", error))?;
    // SAFETY: the connection has ended, all channels with it; nothing else uses the SynIC.
    unsafe { machine.leave() };
    match order.action {
        Action::PowerOff => Ok(order),
        // This machine can only be powered off: the host is told so when it asks.
        Action::Restart | Action::Hibernate => {
            Err(Failure::new("shutdown", "this guest only powers off"))
        }
    }
}

/// From the offers to the host's order: the services run beside the disks.
async fn life<E: Environment>(
    environment: &E,
    plan: Plan,
    bus: &EnvironmentBus<E>,
) -> Result<Order, Failure> {
    let offers = bus
        .enumerate()
        .await
        .map_err(|error| Failure::new("offers", error))?;
    for offer in &offers {
        let interface = offer.interface();
        let name = class::name(&interface).unwrap_or("unknown class");
        let text = alloc::format!("{name} {}", offer.instance());
        environment.print(format_args!("offer {}: {text}\n", offer.channel_id().0));
        environment.report(format_args!("offer.{:04}={text}\n", offer.channel_id().0));
    }
    let order = Cell::new(None);
    let failure = RefCell::new(None);
    let last_vp = environment.processor_count().saturating_sub(1);
    let services = services::serve(environment, bus, &offers, last_vp, &order);
    let storage = async {
        if let Err(error) = show_disks(environment, plan, bus, &offers).await {
            *failure.borrow_mut() = Some(error);
        }
        environment.report(format_args!("state=ready\n"));
    };
    let ((), served) = futures_util::future::join(storage, services).await;
    served?;
    match (failure.into_inner(), order.get()) {
        (Some(failure), _) => Err(failure),
        (None, Some(order)) => Ok(order),
        (None, None) => Err(Failure::new(
            "shutdown",
            "the host has withdrawn the service",
        )),
    }
}

async fn show_disks<E: Environment>(
    environment: &E,
    plan: Plan,
    bus: &EnvironmentBus<E>,
    offers: &[Offer],
) -> Result<(), Failure> {
    let mut controllers = Vec::new();
    let mut number = 0;
    for offer in offers.iter().filter(|offer| offer.is_primary()) {
        if ![class::SCSI, class::IDE].contains(&offer.interface()) {
            continue;
        }
        let options = ControllerOptions::default();
        let controller = StorageController::open(bus, environment.runtime(), offer, options)
            .await
            .map_err(|error| Failure::new("storage controller", error))?;
        let info = controller.info();
        environment.print(format_args!(
            "controller: protocol {}, {} bytes a transfer\n",
            info.version, info.max_transfer_bytes
        ));
        environment.report(format_args!(
            "controller.{number:02}.version={}\n",
            info.version
        ));
        for disk in controller
            .scan()
            .await
            .map_err(|error| Failure::new("scan", error))?
        {
            if let Some(load) = plan.write_load.filter(|_| !disk.info().read_only) {
                return write_load::run(environment, load, &disk).await;
            }
            show_disk(environment, plan, number, &disk)
                .await
                .map_err(|error| Failure::new(&alloc::format!("disk {number}"), error))?;
            number += 1;
        }
        controllers.push(controller);
    }
    for controller in controllers {
        controller.close().await;
    }
    Ok(())
}

async fn show_disk<E: Environment>(
    environment: &E,
    plan: Plan,
    number: usize,
    disk: &Disk,
) -> Result<(), disk::Failure> {
    let runtime = environment.runtime();
    let now = || runtime.now();
    let show = Show::new(environment, number, disk)?;
    show.describe();
    show.partition_table().await?;
    if !plan.demo {
        return Ok(());
    }
    if !disk.info().read_only {
        return show.write_read_verify(if plan.slow { 4 } else { 64 }).await;
    }
    show.hash(now).await?;
    if number > 0 {
        return Ok(());
    }
    let (sequential, random) = if plan.slow { (8, 64) } else { (512, 20_000) };
    let depth = if plan.slow { 8 } else { 32 };
    let work = Work {
        length: 256 << 10,
        depth: 4,
        count: sequential,
        random: false,
    };
    tell(
        environment,
        "speed.sequential",
        format_args!("{}", show.measure(work, now).await?),
    );
    environment.report(format_args!("phase=measure-begin\n"));
    let work = Work {
        length: 4096,
        depth,
        count: random,
        random: true,
    };
    let speed = show.measure(work, now).await;
    environment.report(format_args!("phase=measure-end\n"));
    tell(environment, "speed.random", format_args!("{}", speed?));
    Ok(())
}
