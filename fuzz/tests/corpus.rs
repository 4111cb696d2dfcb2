//! Every committed input, whole, cut and damaged, through its target: the fuzzers' regression tests.

use std::path::{Path, PathBuf};

/// Parsers that believe a length end the process.
#[global_allocator]
static ALLOCATOR: fuzz_targets::allocation::Bounded = fuzz_targets::allocation::Bounded::new();

/// Damaged copies of each input.
const DAMAGED: usize = 200;
/// Shortened copies of each input, about.
const CUT: usize = 64;

/// A generator that needs no crate: the sequence is fixed, so a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Runs one input and shows it when it fails.
fn try_input(target: fuzz_targets::Target, input: &[u8]) {
    if let Err(reason) = std::panic::catch_unwind(|| target(input)) {
        println!("{input:02x?}");
        std::panic::resume_unwind(reason);
    }
}

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target)
}

fn run(name: &str) {
    let target = fuzz_targets::find(name).expect("the corpus belongs to a target");
    let folder = folder(name);
    let mut inputs = 0;
    for entry in std::fs::read_dir(&folder).expect("the target has a corpus") {
        let path = entry.unwrap().path();
        // Shown when it fails.
        println!("{}", path.display());
        let input = std::fs::read(path).unwrap();
        inputs += 1;
        try_input(target, &input);
        for length in (0..input.len()).step_by(input.len() / CUT + 1) {
            try_input(target, &input[..length]);
        }
        let mut random = Random(0x5649_5249_4449_414E ^ input.len() as u64);
        for _ in 0..DAMAGED {
            let mut damaged = input.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(damaged.len());
                if let Some(byte) = damaged.get_mut(at) {
                    *byte = match random.below(4) {
                        0 => 0,
                        1 => 0xFF,
                        2 => *byte ^ (1 << random.below(8)),
                        _ => random.next() as u8,
                    };
                }
            }
            try_input(target, &damaged);
        }
    }
    assert!(inputs > 0, "{} is empty", folder.display());
}

/// The committed files are those that `make-corpus` makes, and what fuzzers have found.
#[test]
fn the_corpus_is_the_generated_one() {
    let seeds = fuzz_targets::corpus::seeds();
    for seed in &seeds {
        let path = folder(seed.target).join(&seed.name);
        let committed = std::fs::read(&path).unwrap_or_default();
        assert!(
            committed == seed.bytes,
            "{}: run make-corpus",
            path.display()
        );
    }
    for (target, _) in fuzz_targets::TARGETS {
        for entry in std::fs::read_dir(folder(target)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let known = seeds
                .iter()
                .any(|seed| seed.target == *target && seed.name == name);
            assert!(known || name.starts_with("found-"), "{target}/{name}");
        }
    }
}

macro_rules! corpus_tests {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { run(stringify!($name)); })*

        #[test]
        fn every_target_has_a_test() {
            let tested = [$(stringify!($name)),*];
            for (name, _) in fuzz_targets::TARGETS {
                assert!(tested.contains(name), "{name} has no corpus test");
            }
        }
    };
}

corpus_tests!(
    ring_consumer,
    vmbus_host_messages,
    vmbus_guest_messages,
    vstor_host,
    vstor_guest,
    ic_guest,
    ic_host,
    ic_wire,
    display_wire,
    display_host,
    rfb,
    vhd,
    elf,
    linux,
);
