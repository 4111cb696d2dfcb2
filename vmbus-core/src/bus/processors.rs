//! The processors whose SynIC serves the bus.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use spin::Mutex;

use super::BusProcessor;

#[derive(Debug)]
pub(crate) struct Processors<C> {
    /// Gets the messages, and makes the hypercalls.
    first: Arc<BusProcessor<C>>,
    others: Mutex<BTreeMap<u32, Arc<BusProcessor<C>>>>,
}

impl<C> Processors<C> {
    pub(super) fn new(first: BusProcessor<C>) -> Self {
        Self {
            first: Arc::new(first),
            others: Mutex::new(BTreeMap::new()),
        }
    }

    /// The processor through which hypercalls are made.
    pub(crate) fn caller(&self) -> &C {
        &self.first.processor
    }

    pub(super) fn add(&self, processor: BusProcessor<C>) {
        if processor.vp_index != self.first.vp_index {
            self.others
                .lock()
                .insert(processor.vp_index, Arc::new(processor));
        }
    }

    pub(super) fn remove(&self, vp_index: u32) -> Option<Arc<BusProcessor<C>>> {
        self.others.lock().remove(&vp_index)
    }

    pub(super) fn get(&self, vp_index: u32) -> Option<Arc<BusProcessor<C>>> {
        if vp_index == self.first.vp_index {
            return Some(self.first.clone());
        }
        self.others.lock().get(&vp_index).cloned()
    }
}
