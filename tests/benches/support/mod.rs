//! Both ends of the storage stack, ready to be measured.

pub mod images;
pub mod one_thread;
