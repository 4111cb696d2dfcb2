//! Synthetic timers: four per virtual processor, in reference time.
//!
//! A timer tells its expiry either directly, by an interrupt of its own, or by
//! a message to an interrupt source. The message may share the source with
//! VMBus; its type, [`MessageType::TIMER_EXPIRED`], tells them apart.
//!
//! [`MessageType::TIMER_EXPIRED`]: crate::call::MessageType::TIMER_EXPIRED

use core::fmt;
use core::num::NonZeroU64;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub use crate::msr::{StimerConfig, TimerIndex};

use crate::cpuid::{Discovery, Features};
use crate::msr::{SintIndex, SintRegister};
use crate::{MsrFault, Processor};

/// How a timer tells that it has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// By an interrupt with this vector, at least 16.
    Direct {
        /// Vector.
        vector: u8,
    },
    /// By a message to this interrupt source, other than source 0.
    Message {
        /// Source.
        sint: SintIndex,
    },
}

impl Expiry {
    /// Directly with `vector` where the hypervisor can do that, otherwise by a
    /// message to `sint`.
    #[must_use]
    pub const fn choose(discovery: &Discovery, vector: u8, sint: SintIndex) -> Self {
        if discovery.features.contains(Features::DIRECT_STIMERS) {
            Self::Direct { vector }
        } else {
            Self::Message { sint }
        }
    }

    fn apply(self, config: StimerConfig) -> Result<StimerConfig, StimerError> {
        match self {
            Self::Direct { vector } if vector < SintRegister::VECTOR_MIN => {
                Err(StimerError::Vector { vector })
            }
            Self::Direct { vector } => Ok(config.with_direct(vector)),
            Self::Message { sint } if sint.number() == 0 => Err(StimerError::SourceZero),
            Self::Message { sint } => Ok(config.with_message(sint)),
        }
    }
}

/// Why a timer could not be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StimerError {
    /// Source 0 takes no timer messages: the timer would never be enabled.
    SourceZero,
    /// The vector is below 16.
    Vector {
        /// The vector.
        vector: u8,
    },
    /// A register could not be accessed.
    Fault(MsrFault),
}

impl From<MsrFault> for StimerError {
    fn from(fault: MsrFault) -> Self {
        Self::Fault(fault)
    }
}

impl fmt::Display for StimerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SourceZero => f.write_str("interrupt source 0 takes no timer messages"),
            Self::Vector { vector } => write!(f, "interrupt vector {vector} is below 16"),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl core::error::Error for StimerError {}

/// A timer of this virtual processor that has been set up.
///
/// All methods must be called on the virtual processor that the timer belongs
/// to. Dropping the value leaves the timer as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stimer {
    index: TimerIndex,
}

impl Stimer {
    /// Sets a timer up for absolute times. It does not run until
    /// [`arm`](Self::arm).
    ///
    /// # Errors
    ///
    /// [`StimerError`]. Needs
    /// [`Privileges::STIMER`](crate::cpuid::Privileges::STIMER).
    pub fn one_shot<P: Processor + ?Sized>(
        processor: &P,
        index: TimerIndex,
        expiry: Expiry,
    ) -> Result<Self, StimerError> {
        // With automatic enabling, each arming is one register write: that of
        // the count.
        let config = expiry.apply(StimerConfig::OFF.with_auto_enable(true).with_enabled(true))?;
        let timer = Self { index };
        // A count that someone left behind would fire at once.
        timer.write_count(processor, 0)?;
        timer.write_config(processor, config)?;
        Ok(timer)
    }

    /// Starts a timer that expires each `period`, in 100 ns. A `lazy` one may
    /// leave out expirations while the virtual processor does not run.
    ///
    /// # Errors
    ///
    /// [`StimerError`]. Needs
    /// [`Privileges::STIMER`](crate::cpuid::Privileges::STIMER).
    pub fn periodic<P: Processor + ?Sized>(
        processor: &P,
        index: TimerIndex,
        expiry: Expiry,
        period: NonZeroU64,
        lazy: bool,
    ) -> Result<Self, StimerError> {
        let config = expiry.apply(
            StimerConfig::OFF
                .with_auto_enable(true)
                .with_periodic(true)
                .with_lazy(lazy),
        )?;
        let timer = Self { index };
        timer.write_count(processor, 0)?;
        timer.write_config(processor, config)?;
        timer.write_count(processor, period.get())?;
        Ok(timer)
    }

    /// Lets a one-shot timer expire when reference time reaches `deadline`, at
    /// once if that has passed. Replaces an earlier deadline.
    ///
    /// # Errors
    ///
    /// [`MsrFault`] without the privilege.
    pub fn arm<P: Processor + ?Sized>(&self, processor: &P, deadline: u64) -> Result<(), MsrFault> {
        // A count of 0 would stop the timer instead of letting it expire.
        self.write_count(processor, deadline.max(1))
    }

    /// Takes an arming back; the set-up remains.
    ///
    /// The count does the stopping: it disables the timer, and the next
    /// [`arm`](Self::arm) enables it again. An expiry that happened before may
    /// still be on its way.
    ///
    /// # Errors
    ///
    /// [`MsrFault`] without the privilege.
    pub fn disarm<P: Processor + ?Sized>(&self, processor: &P) -> Result<(), MsrFault> {
        self.write_count(processor, 0)
    }

    /// Switches the timer off.
    ///
    /// # Errors
    ///
    /// [`MsrFault`] without the privilege.
    pub fn stop<P: Processor + ?Sized>(self, processor: &P) -> Result<(), MsrFault> {
        switch_off(processor, self.index)
    }

    /// Which timer this is.
    #[must_use]
    pub const fn index(&self) -> TimerIndex {
        self.index
    }

    fn write_config<P: Processor + ?Sized>(
        &self,
        processor: &P,
        config: StimerConfig,
    ) -> Result<(), MsrFault> {
        // SAFETY: a timer touches no memory but message slots that were given
        // to the hypervisor.
        unsafe { processor.write_msr(self.index.config_register(), config.bits()) }
    }

    fn write_count<P: Processor + ?Sized>(
        &self,
        processor: &P,
        count: u64,
    ) -> Result<(), MsrFault> {
        // SAFETY: as for the configuration.
        unsafe { processor.write_msr(self.index.count_register(), count) }
    }
}

/// Switches a timer of this virtual processor off, whoever set it up: count 0,
/// which stops it, then configuration 0.
///
/// # Errors
///
/// [`MsrFault`] without the privilege, for the first register that refused.
pub fn switch_off<P: Processor + ?Sized>(processor: &P, index: TimerIndex) -> Result<(), MsrFault> {
    let timer = Stimer { index };
    let stopped = timer.write_count(processor, 0);
    stopped.and(timer.write_config(processor, StimerConfig::OFF))
}

/// Payload of a timer's expiry message, 24 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct TimerMessage {
    /// Number of the timer, 0 to 3.
    pub timer_index: U32,
    /// Zero.
    pub reserved: U32,
    /// When the timer expired, in reference time.
    pub expiration_time: U64,
    /// When the message was delivered, in reference time.
    pub delivery_time: U64,
}

const _: () = assert!(size_of::<TimerMessage>() == 24);

impl TimerMessage {
    /// Reads the payload of a message; `None` if it is too short or names a
    /// timer that does not exist.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (message, _) = Self::read_from_prefix(payload).ok()?;
        message.timer()?;
        Some(message)
    }

    /// The timer that expired, if it exists.
    #[must_use]
    pub fn timer(&self) -> Option<TimerIndex> {
        TimerIndex::new(u8::try_from(self.timer_index.get()).ok()?)
    }
}

#[cfg(test)]
mod tests;
