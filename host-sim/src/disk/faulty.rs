//! A disk that fails on request, to test what depends on disks.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_memory::VolatileSlice;

use super::poison::Poison;
use super::storage::random::Random;
use super::{DiskError, DiskImage, DiskInfo, Durability, Scatter};

/// What is asked of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`DiskImage::read`].
    Read,
    /// [`DiskImage::write`].
    Write,
    /// [`DiskImage::flush`], and the flush in a write with [`Durability::ForceUnitAccess`].
    Flush,
    /// [`DiskImage::discard`].
    Discard,
}

/// When a rule strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Each time.
    Always,
    /// The n-th time only, counted from 1, among the requests that the rule concerns.
    Nth(u64),
    /// The first n times.
    First(u64),
    /// So many times in a thousand, drawn with the disk's seed.
    PerThousand(u32),
}

/// What then happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing but the error.
    Fail(DiskError),
    /// The first so many sectors of a write are written, then the error. As `Fail` for others.
    TornPrefix(u64, DiskError),
    /// Any subset of a write's sectors, drawn with the disk's seed, is written, then the error. As
    /// `Fail` for others.
    TornRandom(DiskError),
    /// The delay hook is called, then all goes well: what the hook waits for, the request waits for.
    Delay,
}

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What is concerned.
    pub operation: Operation,
    /// Requests that touch this range of the disk; all if `None`. A flush touches everything.
    pub range: Option<Range<u64>>,
    /// Which of them.
    pub when: When,
    /// What then happens.
    pub fault: Fault,
}

impl Rule {
    /// A rule for the whole disk.
    #[must_use]
    pub fn new(operation: Operation, when: When, fault: Fault) -> Self {
        Self {
            operation,
            range: None,
            when,
            fault,
        }
    }
}

/// Called, without any lock held, for a request that is delayed.
pub type DelayHook = Arc<dyn Fn(Operation, u64) + Send + Sync>;

/// Another disk, failing by rules. The first rule that strikes decides.
///
/// As with a real disk, once a flush has failed every later write and flush fails with
/// [`DiskError::Poisoned`].
pub struct FaultyDisk {
    inner: Arc<dyn DiskImage>,
    /// Whether anything may go wrong: saves the lock.
    armed: AtomicBool,
    plan: Mutex<Plan>,
    poison: Poison,
}

struct Plan {
    /// Each with the number of requests it has concerned.
    rules: Vec<(Rule, u64)>,
    random: Random,
    struck: u64,
    delay: Option<DelayHook>,
    gone: bool,
}

impl FaultyDisk {
    /// A disk that doesn't fail yet.
    #[must_use]
    pub fn new(inner: Arc<dyn DiskImage>, seed: u64) -> Self {
        Self {
            inner,
            armed: AtomicBool::new(false),
            plan: Mutex::new(Plan {
                rules: Vec::new(),
                random: Random::new(seed),
                struck: 0,
                delay: None,
                gone: false,
            }),
            poison: Poison::default(),
        }
    }

    /// The disk that fails.
    #[must_use]
    pub fn inner(&self) -> &Arc<dyn DiskImage> {
        &self.inner
    }

    /// Adds a rule behind the others.
    pub fn add(&self, rule: Rule) {
        let mut plan = self.plan();
        plan.rules.push((rule, 0));
        self.armed.store(true, Ordering::Release);
    }

    /// Forgets all rules. A poisoned disk stays so, and so does one that vanished.
    pub fn clear(&self) {
        let mut plan = self.plan();
        plan.rules.clear();
        self.armed.store(plan.gone, Ordering::Release);
    }

    /// Draws what is left to chance from another seed.
    pub fn reseed(&self, seed: u64) {
        self.plan().random = Random::new(seed);
    }

    /// Sets what a delayed request waits in.
    pub fn on_delay(&self, hook: DelayHook) {
        self.plan().delay = Some(hook);
    }

    /// Makes every request from now on fail, as if the disk had been pulled out.
    pub fn vanish(&self) {
        self.plan().gone = true;
        self.armed.store(true, Ordering::Release);
    }

    /// How many times a rule has struck.
    #[must_use]
    pub fn struck(&self) -> u64 {
        self.plan().struck
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies the rules to a request; returns what must still go wrong.
    fn meet(&self, operation: Operation, range: Range<u64>) -> Result<Option<Fault>, DiskError> {
        if !self.armed.load(Ordering::Acquire) {
            return Ok(None);
        }
        let hook = {
            let mut plan = self.plan();
            if plan.gone {
                return Err(DiskError::Io {
                    operation: "access",
                    offset: range.start,
                    kind: std::io::ErrorKind::NotFound,
                    code: Some(libc::ENODEV),
                });
            }
            match plan.strike(operation, &range) {
                Some(Fault::Fail(error)) => return Err(error),
                Some(Fault::Delay) => plan.delay.clone(),
                other => return Ok(other),
            }
        };
        if let Some(hook) = hook {
            hook(operation, range.start);
        }
        Ok(None)
    }

    /// A flush, failing by the rules.
    fn checked_flush(&self) -> Result<(), DiskError> {
        self.poison.check()?;
        match self.meet(Operation::Flush, 0..u64::MAX) {
            Ok(None | Some(Fault::Fail(_) | Fault::Delay)) => self.inner.flush(),
            Err(error) | Ok(Some(Fault::TornPrefix(_, error) | Fault::TornRandom(error))) => {
                self.poison.set();
                Err(error)
            }
        }
    }

    /// Writes those sectors that `keep` says.
    fn write_some(
        &self,
        offset: u64,
        from: Scatter<'_>,
        mut keep: impl FnMut(u64) -> bool,
    ) -> Result<(), DiskError> {
        let sector = u64::from(self.info().logical_sector_size);
        let mut rest = from;
        let mut index = 0;
        while !rest.is_empty() {
            let (here, others) = rest.split_at(sector);
            if keep(index) {
                let pieces: Vec<_> = here.pieces().collect();
                self.inner
                    .write(offset + index * sector, &pieces, Durability::Cached)?;
            }
            index += 1;
            rest = others;
        }
        Ok(())
    }
}

impl Plan {
    fn strike(&mut self, operation: Operation, range: &Range<u64>) -> Option<Fault> {
        for (rule, seen) in &mut self.rules {
            let concerned = rule.operation == operation
                && rule
                    .range
                    .as_ref()
                    .is_none_or(|of| of.start < range.end && range.start < of.end);
            if !concerned {
                continue;
            }
            *seen += 1;
            let strikes = match rule.when {
                When::Always => true,
                When::Nth(n) => *seen == n,
                When::First(n) => *seen <= n,
                When::PerThousand(share) => self.random.next() % 1000 < share.into(),
            };
            if strikes {
                self.struck += 1;
                return Some(rule.fault.clone());
            }
        }
        None
    }
}

impl DiskImage for FaultyDisk {
    fn info(&self) -> &DiskInfo {
        self.inner.info()
    }

    fn read(&self, offset: u64, into: &[VolatileSlice<'_>]) -> Result<(), DiskError> {
        let length = Scatter::new(into).len();
        match self.meet(Operation::Read, offset..offset.saturating_add(length))? {
            Some(Fault::TornPrefix(_, error) | Fault::TornRandom(error)) => Err(error),
            _ => self.inner.read(offset, into),
        }
    }

    fn write(
        &self,
        offset: u64,
        from: &[VolatileSlice<'_>],
        durability: Durability,
    ) -> Result<(), DiskError> {
        let view = Scatter::new(from);
        self.info().check_change(offset, view.len())?;
        self.poison.check()?;
        match self.meet(Operation::Write, offset..offset.saturating_add(view.len()))? {
            Some(Fault::TornPrefix(count, error)) => {
                self.write_some(offset, view, |index| index < count)?;
                return Err(error);
            }
            Some(Fault::TornRandom(error)) => {
                let mut draw = Random::new(self.plan().random.next());
                self.write_some(offset, view, |_| draw.next() & 1 == 1)?;
                return Err(error);
            }
            _ => {}
        }
        if !self.armed.load(Ordering::Acquire) {
            return self.inner.write(offset, from, durability);
        }
        self.inner.write(offset, from, Durability::Cached)?;
        match durability {
            Durability::Cached => Ok(()),
            Durability::ForceUnitAccess => self.checked_flush(),
        }
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.checked_flush()
    }

    fn discard(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        self.poison.check()?;
        match self.meet(Operation::Discard, offset..offset.saturating_add(length))? {
            Some(Fault::TornPrefix(_, error) | Fault::TornRandom(error)) => Err(error),
            _ => self.inner.discard(offset, length),
        }
    }

    fn discard_granularity(&self) -> u64 {
        self.inner.discard_granularity()
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        self.inner.next_data(offset)
    }
}
