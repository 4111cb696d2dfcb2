//! Both ends of the storage stack, ready to be measured.

pub(crate) mod images;
pub(crate) mod one_thread;
pub(crate) mod processor_time;
pub(crate) mod two_threads;
