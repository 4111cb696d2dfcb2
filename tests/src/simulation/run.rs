//! The loop that decides what happens next.

use std::rc::Rc;
use std::sync::Arc;

use host_sim::hv::ManualClock;
use host_sim::partition::inproc::{InprocConfig, InprocPartition};
use host_sim::vmbus::Work;
use vmbus_core::bus::{BusOptions, SECOND};

use super::guest;
use super::host::Host;
use super::log::{Chaos, Entry, Log};
use super::plan::{Plan, Weights};
use super::tasks::Tasks;
use super::world::{Totals, World};
use crate::machine::{InprocBus, Machine};
use crate::random::Random;

/// Guest memory in bytes.
const MEMORY: u64 = 16 << 20;
/// Simulated time after which something hangs, in units of 100 ns. Shorter than the guest's own time-outs.
const TIME_LIMIT: u64 = 25 * SECOND;
/// Steps after which something goes round in circles.
const STEP_LIMIT: u64 = 400_000;
/// Longest jump when there is nothing to do but to wait, in units of 100 ns: 10 ms.
const LONGEST_WAIT: u64 = 100_000;
/// How often the weights change: every so many steps, on average.
const MOOD_STEPS: u64 = 150;

/// What came of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Hash of the transcript, the disks' content and all counters.
    pub hash: u64,
    /// Steps.
    pub steps: u64,
    /// What the guest has counted.
    pub totals: Totals,
    /// Controllers taken away, disks pulled out, power cuts.
    pub chaos: ChaosCount,
}

/// How unpleasant the host was.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub struct ChaosCount {
    /// Controllers taken away.
    pub rescinds: u32,
    /// Of those, with a loss of what had not been flushed.
    pub power_cuts: u32,
    /// Disks pulled out.
    pub unplugs: u32,
    /// Unit attentions raised.
    pub attentions: u32,
    /// Commands aborted.
    pub aborts: u32,
}

/// Says which seed failed, and where.
struct OnPanic {
    seed: u64,
    vp_count: u32,
    world: Rc<World>,
}

impl Drop for OnPanic {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        // Whoever panicked may have borrowed the log.
        let tail = match self.world.log.try_borrow() {
            Ok(log) => log.tail(),
            Err(_) => "(the transcript is in use)".to_owned(),
        };
        eprintln!(
            "{tail}plan: {:?}\ntotals: {:?}\nseed {} failed with {} virtual processors; replay it with\n  \
             VIRIDIAN_SEED={} VIRIDIAN_VPS={} cargo test -p e2e-tests --test simulation replay -- --nocapture",
            self.world.plan, self.world.totals, self.seed, self.vp_count, self.seed, self.vp_count
        );
    }
}

/// Something that can happen next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Guest,
    Dispatch,
    Control,
    Channel,
    Disk,
    Time,
    Chaos,
}

pub(super) struct Simulation {
    pub(super) world: Rc<World>,
    random: Random,
    weights: Weights,
    clock: Arc<ManualClock>,
    pub(super) partition: InprocPartition,
    pub(super) bus: InprocBus,
    pub(super) host: Host,
    pub(super) tasks: Tasks,
    /// Interrupts that a virtual processor has not taken yet.
    pending: Vec<bool>,
    pub(super) chaos: ChaosCount,
    pub(super) steps: u64,
}

/// Runs a seed to its end; `print` shows the transcript on the way.
///
/// # Panics
/// Something is wrong: with the seed, the way to replay it, and the end of the transcript on standard error.
#[must_use]
pub fn run(seed: u64, vp_count: u32, print: bool) -> Report {
    let mut random = Random::new(seed);
    let plan = Plan::draw(&mut random, vp_count);
    let clock = Arc::new(ManualClock::default());
    let config = InprocConfig::stepped(MEMORY, vp_count, clock.clone());
    let partition = InprocPartition::new(config).expect("a partition");
    let free_pages = partition.free_pages();
    let log = Log::new(print);
    let world = World::new(plan, partition.runtime(0), log, random.fork());
    let world = Rc::new(world);
    let _on_panic = OnPanic {
        seed,
        vp_count,
        world: world.clone(),
    };
    let host = Host::new(&world.plan, &partition, random.fork());
    let machine = Machine::start(&partition);
    let options = BusOptions {
        disconnect_timeout: SECOND,
        ..BusOptions::default()
    };
    let bus = InprocBus::new(partition.runtime(0), machine.bus_processor(0), options)
        .expect("memory for a bus");
    machine.add_others(&bus);
    guest::boot(&world, &bus);
    let mut simulation = Simulation {
        weights: Weights::draw(&mut random),
        world,
        random,
        clock,
        partition,
        bus,
        host,
        tasks: Tasks::default(),
        pending: vec![false; vp_count as usize],
        chaos: ChaosCount::default(),
        steps: 0,
    };
    simulation.run_to_end();
    simulation.examine(machine, free_pages)
}

impl Simulation {
    fn run_to_end(&mut self) {
        self.adopt_tasks();
        while !self.tasks.is_empty() {
            self.step();
        }
        // The host may still have to clean up behind the guest.
        let mut left = 1000;
        while let Some(work) = self.host.bus.work().first().copied() {
            self.host.step(work);
            left -= 1;
            assert!(left > 0, "the host never comes to rest");
        }
    }

    fn adopt_tasks(&mut self) {
        for (name, future) in self.world.spawned.take() {
            self.tasks.add(name, future);
        }
    }

    fn step(&mut self) {
        self.steps += 1;
        if self.steps > STEP_LIMIT || self.world.now() > TIME_LIMIT {
            self.report_hang();
        }
        if self.random.below(MOOD_STEPS) == 0 {
            self.weights = Weights::draw(&mut self.random);
            self.world.note(Entry::Mood);
        }
        for (vp, pending) in (0..).zip(&mut self.pending) {
            *pending |= !self.partition.take_pending(vp).is_empty();
        }
        if self.world.calm.get() {
            self.repair();
        }
        let woken: Vec<_> = self.tasks.woken().collect();
        let work = self.host.bus.work();
        let (channels, control): (Vec<Work>, Vec<Work>) = work
            .into_iter()
            .partition(|work| matches!(work, Work::Channel(_)));
        let weights = self.weights;
        let choices = [
            (Kind::Guest, weights.guest, !woken.is_empty()),
            (
                Kind::Dispatch,
                weights.dispatch,
                self.pending.contains(&true),
            ),
            (Kind::Control, weights.control, !control.is_empty()),
            (Kind::Channel, weights.channel, !channels.is_empty()),
            (Kind::Disk, weights.disk, self.host.picked.waiting() > 0),
        ];
        let idle = choices.iter().all(|(_, _, possible)| !possible);
        let chaos = match self.random.below(self.world.plan.chaos_rarity) {
            // Whoever waits may wait for the host to undo what it did.
            _ if idle => self.possible_chaos(),
            0 => self.possible_chaos(),
            _ => Vec::new(),
        };
        if idle && (chaos.is_empty() || self.random.per_thousand(900)) {
            return self.wait();
        }
        let others = [
            (Kind::Time, weights.time, !idle),
            (Kind::Chaos, weights.chaos, !chaos.is_empty()),
        ];
        match self.choose(&[&choices[..], &others[..]].concat()) {
            Kind::Guest => {
                let task = self.random.pick(&woken);
                self.world.note(Entry::Poll(task));
                self.tasks.poll(task);
                self.adopt_tasks();
            }
            Kind::Dispatch => self.dispatch(),
            Kind::Control => self.host_work(&control),
            Kind::Channel => self.host_work(&channels),
            Kind::Disk => {
                let index = self.random.index(self.host.picked.waiting());
                self.world.note(Entry::Finish(to_u16(index)));
                self.host.picked.finish(index, false);
            }
            Kind::Time => {
                let units = self.random.pick(&[1, 50, 1000, 20_000]);
                self.advance(units);
                if self.random.below(8) == 0 {
                    self.tasks.wake("controller");
                }
            }
            Kind::Chaos => {
                let chaos = self.random.pick(&chaos);
                self.make_chaos(chaos);
            }
        }
    }

    /// One of the possible kinds, by weight.
    fn choose(&mut self, choices: &[(Kind, u64, bool)]) -> Kind {
        let possible = || choices.iter().filter(|(_, _, possible)| *possible);
        let total: u64 = possible().map(|(_, weight, _)| weight).sum();
        let mut drawn = self.random.below(total);
        for (kind, weight, _) in possible() {
            match drawn.checked_sub(*weight) {
                None => return *kind,
                Some(rest) => drawn = rest,
            }
        }
        // Only when all that is possible has no weight.
        possible()
            .map(|(kind, _, _)| *kind)
            .next()
            .expect("something is possible")
    }

    fn dispatch(&mut self) {
        let vps: Vec<_> = (0..)
            .zip(&self.pending)
            .filter(|(_, pending)| **pending)
            .map(|(vp, _)| vp)
            .collect();
        let vp: u8 = self.random.pick(&vps);
        self.pending[usize::from(vp)] = false;
        self.world.note(Entry::Dispatch(vp));
        self.bus.dispatch(vp.into());
    }

    fn host_work(&mut self, work: &[Work]) {
        let work = self.random.pick(work);
        self.world.note(match work {
            Work::Effect => Entry::Effect,
            Work::Inbox => Entry::Inbox,
            Work::Channel(id) => Entry::Channel(id.0),
        });
        self.host.step(work);
    }

    fn advance(&mut self, units: u32) {
        self.world.note(Entry::Advance(units));
        self.clock.advance(units.into());
        self.partition.hv().run_timers(self.world.now());
        self.bus.run_timers();
    }

    /// Nothing can happen but that time passes.
    fn wait(&mut self) {
        let now = self.world.now();
        let until = self
            .host
            .bus
            .next_deadline()
            .into_iter()
            .chain(self.bus.next_deadline())
            .min()
            .unwrap_or(u64::MAX);
        let units = until.saturating_sub(now).clamp(1, LONGEST_WAIT);
        self.advance(u32::try_from(units).expect("short"));
        self.tasks.wake("controller");
    }

    fn possible_chaos(&self) -> Vec<Chaos> {
        let plan = &self.world.plan;
        let mut possible = Vec::new();
        if self.world.calm.get() {
            return possible;
        }
        if !self.host.has_controller() && self.host.can_reoffer() {
            let power_cut = plan.power_cuts;
            possible.push(Chaos::Reoffer { power_cut });
        }
        let in_use = self.world.under_way.get() > 0;
        if self.host.has_controller() && (in_use || plan.early_chaos) {
            if self.chaos.rescinds < plan.rescinds {
                possible.push(Chaos::Rescind);
            }
            let plugged = self.host.luns(true);
            if self.chaos.unplugs < plan.unplugs {
                possible.extend(plugged.iter().map(|lun| Chaos::Unplug(*lun)));
            }
            if self.chaos.attentions < plan.attentions {
                possible.extend(plugged.iter().map(|lun| Chaos::Attention(*lun)));
            }
        }
        possible.extend(self.host.luns(false).into_iter().map(Chaos::Plug));
        if self.chaos.aborts < plan.aborts && self.host.picked.waiting() > 0 {
            possible.push(Chaos::Abort(to_u16(self.host.picked.waiting() - 1)));
        }
        possible
    }

    fn make_chaos(&mut self, chaos: Chaos) {
        self.world.note(Entry::Chaos(chaos));
        match chaos {
            Chaos::Rescind => {
                self.chaos.rescinds += 1;
                self.host.rescind();
            }
            Chaos::Reoffer { power_cut } => {
                if power_cut {
                    self.chaos.power_cuts += 1;
                    self.cut_power();
                }
                self.host.reoffer();
            }
            Chaos::Unplug(lun) => {
                self.chaos.unplugs += 1;
                self.host.unplug(lun);
            }
            Chaos::Plug(lun) => self.host.plug(lun),
            Chaos::Attention(lun) => {
                self.chaos.attentions += 1;
                self.host.raise(lun);
            }
            Chaos::Abort(index) => {
                self.chaos.aborts += 1;
                self.host.picked.finish(index.into(), true);
            }
        }
    }

    /// The power fails; nothing that is certainly durable may be lost.
    pub(super) fn cut_power(&mut self) {
        let now = self.world.moment();
        let contents = self.host.cut_power();
        for (model, content) in self.world.models.borrow_mut().iter_mut().zip(contents) {
            if let Err(what) = model.cut(&content, now) {
                panic!("power cut: {what}");
            }
        }
    }

    /// Undoes what the host has done to the guest.
    fn repair(&mut self) {
        self.host.calm_down();
        if !self.host.has_controller() && self.host.can_reoffer() {
            self.make_chaos(Chaos::Reoffer { power_cut: false });
        }
        for lun in self.host.luns(false) {
            self.make_chaos(Chaos::Plug(lun));
        }
    }

    fn report_hang(&self) -> ! {
        panic!(
            "no end after {} steps and {} ms; tasks: {:?}; woken: {:?}; interrupts: {:?}; host: {:?}, {:#?}; guest: {:?}",
            self.steps,
            self.world.now() / 10_000,
            self.tasks.names(),
            self.tasks.woken().collect::<Vec<_>>(),
            self.pending,
            self.host.bus.work(),
            self.host.bus.snapshot(),
            self.bus,
        );
    }
}

fn to_u16(value: usize) -> u16 {
    u16::try_from(value).expect("few")
}
