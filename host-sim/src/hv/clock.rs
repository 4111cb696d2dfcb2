//! The counter behind a partition's time.
//!
//! The counter MSR, the reference TSC page and the synthetic timers all compute reference time from one [`Clock`] by one
//! formula, so that they never disagree.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hypercall::time::UNITS_PER_SECOND;

/// Slowest counter that the formula can scale: at 10 MHz and below the 64-bit scale overflows.
pub const LOWEST_TSC_FREQUENCY: u64 = UNITS_PER_SECOND + 1;

/// A monotonic counter of constant rate, as the guest's virtual processors read it with RDTSC.
pub trait Clock: Send + Sync {
    /// The counter now. Never decreases, from whichever thread it is read.
    fn tsc(&self) -> u64;

    /// Counts per second; constant, above 10 MHz.
    fn tsc_frequency(&self) -> u64;

    /// Whether a guest's own RDTSC gives the same value as [`Clock::tsc`] on every virtual processor. Where it does
    /// not, the reference TSC page stays invalid (sequence 0) and guests use the counter MSR.
    fn guest_reads_it(&self) -> bool {
        true
    }

    /// Counts per second of what a guest's own RDTSC gives, this counter or another; `None` if that is not known, and
    /// guests have to find out for themselves.
    fn guest_tsc_frequency(&self) -> Option<u64> {
        self.guest_reads_it().then(|| self.tsc_frequency())
    }
}

/// The host's time-stamp counter, plus an offset for guests whose counter started elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct HostTscClock {
    frequency: u64,
    offset: u64,
}

/// Why the host's time-stamp counter is no clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TscUnusable {
    /// The processor does not promise a constant rate in all power states.
    #[error("the processor's time-stamp counter is not invariant")]
    NotInvariant,
    /// The measured rate is implausible.
    #[error("the time-stamp counter was measured at {hertz} Hz")]
    Frequency {
        /// The measured rate.
        hertz: u64,
    },
}

impl HostTscClock {
    /// The host's counter at its calibrated rate. The first call in a process may take some 20 ms to measure it.
    ///
    /// # Errors
    /// [`TscUnusable`] if the counter is not invariant or not measurable; use [`MonotonicClock`] then.
    pub fn new() -> Result<Self, TscUnusable> {
        if !tsc_is_invariant() {
            return Err(TscUnusable::NotInvariant);
        }
        static FREQUENCY: OnceLock<u64> = OnceLock::new();
        let hertz = *FREQUENCY.get_or_init(calibrated_tsc_frequency);
        if hertz < LOWEST_TSC_FREQUENCY {
            return Err(TscUnusable::Frequency { hertz });
        }
        Ok(Self {
            frequency: hertz,
            offset: 0,
        })
    }

    /// The host's counter plus `offset` (modulo 2^64) at a rate known from elsewhere, such as `KVM_GET_TSC_KHZ`.
    ///
    /// `frequency` is in hertz and must be above 10 MHz for the partition to accept the clock.
    #[must_use]
    pub fn with_offset(frequency: u64, offset: u64) -> Self {
        Self { frequency, offset }
    }
}

impl Clock for HostTscClock {
    fn tsc(&self) -> u64 {
        ordered_host_tsc().wrapping_add(self.offset)
    }

    fn tsc_frequency(&self) -> u64 {
        self.frequency
    }
}

/// `CLOCK_MONOTONIC` as a counter of 1 GHz, for hosts without a usable time-stamp counter.
#[derive(Clone, Copy, Debug, Default)]
pub struct MonotonicClock {
    guest_reads_it: bool,
    guest_tsc_frequency: Option<u64>,
}

impl MonotonicClock {
    /// For a guest whose own RDTSC reads something else (a real virtual processor), at a rate in hertz if that is known.
    #[must_use]
    pub fn beside(guest_tsc_frequency: Option<u64>) -> Self {
        Self {
            guest_reads_it: false,
            guest_tsc_frequency,
        }
    }

    /// For an in-process guest, which reads its counter through the partition and so reads this one.
    #[must_use]
    pub fn as_guest_tsc() -> Self {
        Self {
            guest_reads_it: true,
            guest_tsc_frequency: Some(NANOSECONDS),
        }
    }
}

/// Counts per second of `CLOCK_MONOTONIC`.
const NANOSECONDS: u64 = 1_000_000_000;

impl Clock for MonotonicClock {
    fn tsc(&self) -> u64 {
        monotonic_nanoseconds()
    }

    fn tsc_frequency(&self) -> u64 {
        NANOSECONDS
    }

    fn guest_reads_it(&self) -> bool {
        self.guest_reads_it
    }

    fn guest_tsc_frequency(&self) -> Option<u64> {
        self.guest_tsc_frequency
    }
}

/// A counter that moves only when told to, for deterministic runs.
#[derive(Debug)]
pub struct ManualClock {
    tsc: AtomicU64,
    frequency: u64,
}

impl ManualClock {
    /// A counter at 0 that counts `frequency` per simulated second; above 10 MHz for the partition to accept it.
    #[must_use]
    pub fn new(frequency: u64) -> Self {
        Self {
            tsc: AtomicU64::new(0),
            frequency,
        }
    }

    /// Moves the counter on by at least `units` of 100 ns (rounded up to a whole count).
    pub fn advance(&self, units: u64) {
        let counts =
            (u128::from(units) * u128::from(self.frequency)).div_ceil(u128::from(UNITS_PER_SECOND));
        self.advance_counts(u64::try_from(counts).unwrap_or(u64::MAX));
    }

    /// Moves the counter on by `counts`, saturating at the end of its range.
    pub fn advance_counts(&self, counts: u64) {
        // The counter must never decrease, so overflow sticks at the top.
        let _ = self
            .tsc
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |tsc| {
                Some(tsc.saturating_add(counts))
            });
    }
}

impl Default for ManualClock {
    /// A counter of 2.56 GHz: 256 counts are exactly one unit of reference time, with no rounding anywhere.
    fn default() -> Self {
        Self::new(256 * UNITS_PER_SECOND)
    }
}

impl Clock for ManualClock {
    fn tsc(&self) -> u64 {
        self.tsc.load(Ordering::SeqCst)
    }

    fn tsc_frequency(&self) -> u64 {
        self.frequency
    }
}

/// The time-stamp counter, not read before earlier loads have completed.
#[cfg(target_arch = "x86_64")]
fn ordered_host_tsc() -> u64 {
    // SAFETY: LFENCE and RDTSC exist on every x86-64 processor and touch no memory; Linux leaves CR4.TSD clear.
    unsafe {
        core::arch::x86_64::_mm_lfence();
        core::arch::x86_64::_rdtsc()
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn ordered_host_tsc() -> u64 {
    monotonic_nanoseconds()
}

#[cfg(target_arch = "x86_64")]
fn tsc_is_invariant() -> bool {
    const POWER_MANAGEMENT: u32 = 0x8000_0007;
    core::arch::x86_64::__cpuid(0x8000_0000).eax >= POWER_MANAGEMENT
        && core::arch::x86_64::__cpuid(POWER_MANAGEMENT).edx & 1 << 8 != 0
}

#[cfg(not(target_arch = "x86_64"))]
fn tsc_is_invariant() -> bool {
    false
}

/// The rate that CPUID leaf 0x15 states, if it states one and a measurement confirms it, else the measurement.
fn calibrated_tsc_frequency() -> u64 {
    let measured = measured_tsc_frequency();
    match stated_tsc_frequency() {
        // Virtual machines with a scaled counter may still show the physical processor's figures.
        Some(stated) if stated.abs_diff(measured) < measured / 1000 => stated,
        _ => measured,
    }
}

#[cfg(target_arch = "x86_64")]
fn stated_tsc_frequency() -> Option<u64> {
    const CRYSTAL_RATIO: u32 = 0x15;
    if core::arch::x86_64::__cpuid(0).eax < CRYSTAL_RATIO {
        return None;
    }
    let leaf = core::arch::x86_64::__cpuid(CRYSTAL_RATIO);
    let (denominator, numerator, crystal) = (leaf.eax, leaf.ebx, leaf.ecx);
    if numerator == 0 || crystal == 0 {
        return None;
    }
    (u64::from(crystal) * u64::from(numerator)).checked_div(u64::from(denominator))
}

#[cfg(not(target_arch = "x86_64"))]
fn stated_tsc_frequency() -> Option<u64> {
    None
}

/// Measures the counter against `CLOCK_MONOTONIC` over some 20 ms.
fn measured_tsc_frequency() -> u64 {
    let (first_tsc, first) = tight_sample();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let (last_tsc, last) = tight_sample();
    let counts = u128::from(last_tsc.saturating_sub(first_tsc));
    let nanoseconds = u128::from(last.saturating_sub(first)).max(1);
    u64::try_from(counts * 1_000_000_000 / nanoseconds).unwrap_or(0)
}

/// Counter and clock at the same moment: of some tries, the one that took the least time.
fn tight_sample() -> (u64, u64) {
    let mut best = (u64::MAX, 0, 0);
    for _ in 0..16 {
        let before = ordered_host_tsc();
        let clock = monotonic_nanoseconds();
        let width = ordered_host_tsc().wrapping_sub(before);
        if width < best.0 {
            best = (width, before.wrapping_add(width / 2), clock);
        }
    }
    (best.1, best.2)
}

/// `CLOCK_MONOTONIC` since its first use in this process.
fn monotonic_nanoseconds() -> u64 {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    let elapsed = BEGIN.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypercall::time::TimeScale;

    #[test]
    fn the_manual_clock_moves_by_at_least_what_is_asked() {
        let clock = ManualClock::new(25_000_001);
        let time = TimeScale::from_frequency(25_000_001).unwrap();
        for step in [1_u64, 3, 1000, 12_345_678] {
            let before = time.time_at(clock.tsc());
            clock.advance(step);
            assert!(time.time_at(clock.tsc()) + 1 >= before + step);
        }
        clock.advance_counts(u64::MAX);
        clock.advance_counts(1);
        assert_eq!(clock.tsc(), u64::MAX);
    }

    #[test]
    fn the_host_clocks_never_go_back() {
        let mut clocks: Vec<Box<dyn Clock>> = vec![Box::new(MonotonicClock::as_guest_tsc())];
        if let Ok(tsc) = HostTscClock::new() {
            clocks.push(Box::new(tsc));
        }
        for clock in clocks {
            assert!(clock.tsc_frequency() >= LOWEST_TSC_FREQUENCY);
            let mut last = clock.tsc();
            for _ in 0..1000 {
                let now = clock.tsc();
                assert!(now >= last);
                last = now;
            }
        }
    }
}
