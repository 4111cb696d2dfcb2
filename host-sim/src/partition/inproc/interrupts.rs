//! Interrupts of virtual processors that are threads: pending vectors and a way to wait for them.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::hv::{InterruptSink, VectorSet};

/// The interrupt controller of an in-process partition.
#[derive(Debug)]
pub(super) struct Interrupts {
    processors: Vec<ProcessorInterrupts>,
}

#[derive(Debug, Default)]
struct ProcessorInterrupts {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    online: bool,
    pending: VectorSet,
    /// Something has happened since the processor last went idle.
    woken: bool,
    /// Interrupts that found the processor offline.
    dropped: u64,
}

impl Interrupts {
    pub(super) fn new(vp_count: u32) -> Self {
        Self {
            processors: (0..vp_count)
                .map(|_| ProcessorInterrupts::default())
                .collect(),
        }
    }

    /// Brings a processor online, with nothing pending, or takes it offline.
    pub(super) fn set_online(&self, vp: u32, online: bool) {
        if let Some(processor) = self.processor(vp) {
            let mut state = processor.lock();
            if state.online != online {
                state.online = online;
                state.pending = VectorSet::default();
            }
            state.woken = true;
            processor.wake.notify_all();
        }
    }

    pub(super) fn is_online(&self, vp: u32) -> bool {
        self.processor(vp)
            .is_some_and(|processor| processor.lock().online)
    }

    pub(super) fn take_pending(&self, vp: u32) -> VectorSet {
        self.processor(vp)
            .map_or_else(VectorSet::default, |processor| {
                std::mem::take(&mut processor.lock().pending)
            })
    }

    pub(super) fn dropped(&self, vp: u32) -> u64 {
        self.processor(vp)
            .map_or(0, |processor| processor.lock().dropped)
    }

    /// Ends the wait of a processor, or its next one.
    pub(super) fn wake(&self, vp: u32) {
        if let Some(processor) = self.processor(vp) {
            processor.lock().woken = true;
            processor.wake.notify_all();
        }
    }

    /// Waits until the processor has been woken since its last wait, at most `limit`.
    pub(super) fn wait(&self, vp: u32, limit: Duration) {
        let Some(processor) = self.processor(vp) else {
            return;
        };
        let deadline = Instant::now() + limit;
        let mut state = processor.lock();
        while !state.woken {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = processor
                .wake
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.woken = false;
    }

    fn processor(&self, vp: u32) -> Option<&ProcessorInterrupts> {
        self.processors.get(usize::try_from(vp).ok()?)
    }
}

impl ProcessorInterrupts {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InterruptSink for Interrupts {
    fn inject(&self, vp: u32, vector: u8) {
        let Some(processor) = self.processor(vp) else {
            return;
        };
        let mut state = processor.lock();
        if state.online {
            state.pending.insert(vector);
            state.woken = true;
            processor.wake.notify_all();
        } else {
            state.dropped += 1;
        }
    }
}
