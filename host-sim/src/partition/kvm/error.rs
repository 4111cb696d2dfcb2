//! Why a partition cannot be made on KVM.

use std::io;

use thiserror::Error;

use super::vm::MOST_RAM;
use crate::hv::HvError;

/// Why a partition cannot be made on KVM, or not be started.
#[derive(Debug, Error)]
pub enum KvmError {
    /// There is no such device.
    #[error("{path} does not exist: this machine has no KVM")]
    Missing {
        /// The device.
        path: String,
    },
    /// The device may not be opened.
    #[error("no permission to use {path}: add the user to the device's group, or run as root")]
    Denied {
        /// The device.
        path: String,
    },
    /// The device cannot be opened for another reason.
    #[error("cannot open {path}: {source}")]
    Open {
        /// The device.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The device is not KVM, or KVM of another interface.
    #[error("{path} is not KVM with interface version 12 (it answers {version})")]
    NotKvm {
        /// The device.
        path: String,
        /// Its answer.
        version: i32,
    },
    /// KVM is too old or was built without something.
    #[error("this machine's KVM cannot {0}")]
    Capability(&'static str),
    /// More virtual processors than KVM or the guest's interrupt controllers allow.
    #[error("{asked} virtual processors: this machine's KVM has 1 to {most}")]
    ProcessorCount {
        /// How many were wanted.
        asked: u32,
        /// How many are possible.
        most: u32,
    },
    /// A virtual processor is to stay on a processor on which this process may not run.
    #[error("processor {processor} of this machine cannot be used: {source}")]
    NoSuchProcessor {
        /// Its number.
        processor: usize,
        /// The system's answer.
        source: io::Error,
    },
    /// RAM would reach into the range of the devices.
    #[error("{0} bytes of RAM: they reach into the addresses of devices, from {MOST_RAM:#x} on")]
    TooMuchMemory(u64),
    /// KVM refused a step.
    #[error("KVM refuses to {step}: {source}")]
    Refused {
        /// What was attempted.
        step: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Nothing has been loaded for the processors to run.
    #[error("no guest has been loaded")]
    NoGuest,
    /// The host has no thread for a virtual processor.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The hypervisor shim cannot be made.
    #[error(transparent)]
    Shim(#[from] HvError),
}

impl KvmError {
    /// For `map_err` on an ioctl: names the step that failed.
    pub(super) fn refused(step: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Self {
        move |error| Self::Refused {
            step,
            source: io::Error::from_raw_os_error(error.errno()),
        }
    }
}
