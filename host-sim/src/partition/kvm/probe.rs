//! Is this machine's KVM fit for use? A short guest loop tells how fast it runs guest code.

use std::time::{Duration, Instant};

use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};
use serde::{Deserialize, Serialize};

use super::vm::{DEVICE, add_memory, open};
use super::{KvmError, registers};
use crate::boot::long_mode::{bare_entry, write_tables};
use crate::memory::GuestMemory;

/// A KVM below this speed interprets instructions instead of running them.
pub const EMULATION_LIMIT_MIPS: f64 = 50.0;

/// Where the loop is, above the loader's tables.
const CODE_ADDRESS: u64 = 0x8_0000;
const MEMORY_BYTES: u64 = 1 << 20;

/// `dec rcx; jnz` back to the `dec`; `hlt`.
const LOOP: [u8; 6] = [0x48, 0xFF, 0xC9, 0x75, 0xFB, 0xF4];
const INSTRUCTIONS_PER_ROUND: u64 = 2;

const FEWEST_ROUNDS: u64 = 1 << 9;
const MOST_ROUNDS: u64 = 1 << 26;

/// A measurement this long is exact enough, and short enough for start-up.
const LONG_ENOUGH: Duration = Duration::from_millis(5);

/// What was found out about a usable KVM.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Speed of ring 0 guest code, in million instructions a second.
    pub mips: f64,
}

impl Probe {
    /// Whether guest code is interpreted, so that only the smallest guests make sense.
    #[must_use]
    pub fn emulates(&self) -> bool {
        self.mips < EMULATION_LIMIT_MIPS
    }
}

/// Opens KVM and runs a loop in a guest, for some 10 ms.
///
/// # Errors
/// [`KvmError`]: KVM is missing, forbidden or lacking.
pub fn probe() -> Result<Probe, KvmError> {
    let kvm = open(DEVICE)?;
    let memory = GuestMemory::new(MEMORY_BYTES).map_err(|source| KvmError::Refused {
        step: "have memory for a guest",
        source,
    })?;
    measure(&kvm, &memory)
}

fn measure(kvm: &Kvm, memory: &GuestMemory) -> Result<Probe, KvmError> {
    let fits = "the memory is larger than tables and code";
    write_tables(memory).expect(fits);
    memory.write(CODE_ADDRESS, &LOOP).expect(fits);
    let vm = kvm
        .create_vm()
        .map_err(KvmError::refused("create a virtual machine"))?;
    add_memory(&vm, memory)?;
    // Without interrupt controllers HLT comes out to us.
    let mut processor = vm
        .create_vcpu(0)
        .map_err(KvmError::refused("create a virtual processor"))?;
    registers::set_entry(&processor, 0, &bare_entry(CODE_ADDRESS))?;
    let mut rounds = FEWEST_ROUNDS;
    loop {
        let time = run_loop(&mut processor, rounds)?;
        if time >= LONG_ENOUGH || rounds >= MOST_ROUNDS {
            let probe = speed(rounds, time);
            if !probe.emulates() {
                return Ok(probe);
            }
            // The first run may have waited for the host to prepare what all others find ready: where KVM itself runs
            // under an emulator, that takes seconds.
            let again = speed(rounds, run_loop(&mut processor, rounds)?);
            return Ok(if again.mips > probe.mips {
                again
            } else {
                probe
            });
        }
        rounds *= 4;
    }
}

fn speed(rounds: u64, time: Duration) -> Probe {
    let instructions = (rounds * INSTRUCTIONS_PER_ROUND) as f64;
    Probe {
        mips: instructions / time.as_secs_f64().max(1e-9) / 1e6,
    }
}

fn run_loop(processor: &mut VcpuFd, rounds: u64) -> Result<Duration, KvmError> {
    let mut regs = processor
        .get_regs()
        .map_err(KvmError::refused("tell general registers"))?;
    regs.rip = CODE_ADDRESS;
    regs.rcx = rounds;
    processor
        .set_regs(&regs)
        .map_err(KvmError::refused("set general registers"))?;
    let begin = Instant::now();
    loop {
        match processor.run() {
            Ok(VcpuExit::Hlt) => return Ok(begin.elapsed()),
            Ok(VcpuExit::Intr) => {}
            Ok(_) => return Err(KvmError::Capability("run guest code")),
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {}
            Err(error) => return Err(KvmError::refused("run guest code")(error)),
        }
    }
}
