//! One fuzzer for all targets; `VIRIDIAN_FUZZ_TARGET` names the one to run.

#![no_main]

use std::sync::OnceLock;

/// Parsers that believe a length end the process.
#[global_allocator]
static ALLOCATOR: fuzz_targets::allocation::Bounded = fuzz_targets::allocation::Bounded::new();

static TARGET: OnceLock<fuzz_targets::Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name =
            std::env::var("VIRIDIAN_FUZZ_TARGET").expect("VIRIDIAN_FUZZ_TARGET names no target");
        fuzz_targets::find(&name).expect("there is no such target")
    });
    target(data);
});
