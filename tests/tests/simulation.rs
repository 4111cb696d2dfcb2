//! Two thousand seeds of the deterministic simulation.

use e2e_tests::simulation::{Report, run};

/// Seeds of each test below.
const SEEDS: u64 = 250;

/// Runs the seeds of one part: even ones with one virtual processor, odd ones with two.
fn part(number: u64) {
    let mut sum = Sum::default();
    for seed in number * SEEDS..(number + 1) * SEEDS {
        sum.add(&run(seed, vp_count(seed), false));
    }
    sum.print(number);
    // The parts are large enough for everything to have happened.
    assert!(sum.rescinds > 100 && sum.cancelled > 100, "{sum:?}");
    assert!(sum.power_cuts > 20 && sum.unplugs > 50, "{sum:?}");
    assert!(sum.ring_full > 500, "{sum:?}");
    assert!(sum.sub_channels > 20 && sum.aborts > 10, "{sum:?}");
}

/// Virtual processors that a seed is run with.
const fn vp_count(seed: u64) -> u32 {
    1 + (seed % 2) as u32
}

#[derive(Debug, Default)]
struct Sum {
    steps: u64,
    rescinds: u64,
    power_cuts: u64,
    unplugs: u64,
    aborts: u64,
    succeeded: u64,
    failed: u64,
    cancelled: u64,
    ring_full: u64,
    sub_channels: u64,
    beats: u64,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        self.steps += report.steps;
        self.rescinds += u64::from(report.chaos.rescinds);
        self.power_cuts += u64::from(report.chaos.power_cuts);
        self.unplugs += u64::from(report.chaos.unplugs);
        self.aborts += u64::from(report.chaos.aborts);
        self.succeeded += report.totals.succeeded;
        self.failed += report.totals.failed;
        self.cancelled += report.totals.cancelled;
        self.ring_full += report.totals.ring_full;
        self.sub_channels += report.totals.sub_channels;
        self.beats += report.totals.beats;
    }

    fn print(&self, number: u64) {
        println!("part {number}, {SEEDS} seeds: {self:?}");
    }
}

macro_rules! parts {
    ($($name:ident = $number:literal,)+) => {
        $(
            #[test]
            fn $name() {
                part($number);
            }
        )+
    };
}

parts! {
    seeds_0 = 0,
    seeds_250 = 1,
    seeds_500 = 2,
    seeds_750 = 3,
    seeds_1000 = 4,
    seeds_1250 = 5,
    seeds_1500 = 6,
    seeds_1750 = 7,
}

#[test]
fn the_same_seed_gives_the_same_transcript() {
    let seeds = [1, 2, 3, 1000, 0xDEAD_BEEF, u64::MAX];
    let mut hashes = Vec::new();
    for seed in seeds {
        let first = run(seed, vp_count(seed), false);
        assert_eq!(first, run(seed, vp_count(seed), false), "seed {seed}");
        hashes.push(first.hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), seeds.len(), "different seeds, different runs");
}

/// Runs as many further seeds as the environment variable `VIRIDIAN_SEEDS` says, from 10,000 on.
#[test]
#[ignore = "as long as one likes: VIRIDIAN_SEEDS says how many"]
fn soak() {
    for seed in
        (10_000..).take(usize::try_from(variable("VIRIDIAN_SEEDS").unwrap_or(0)).expect("small"))
    {
        let _ = run(seed, vp_count(seed), false);
    }
}

/// A number from an environment variable.
fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Replays the seed of the environment variable `VIRIDIAN_SEED` (with `VIRIDIAN_VPS` virtual processors, or as many as
/// the tests above give it), or seed 0, and prints its transcript.
#[test]
fn replay() {
    let seed = variable("VIRIDIAN_SEED").unwrap_or(0);
    let vps = variable("VIRIDIAN_VPS").map_or(vp_count(seed), |vps| {
        u32::try_from(vps).expect("few virtual processors")
    });
    let report = run(seed, vps, true);
    println!("{report:#?}");
}
