//! Switching the SynIC of a virtual processor on and off.

use core::fmt;
use core::ptr::NonNull;

use super::{
    EventFlagsPage, Message, MessagePage, ReadMessageError, SintIndex, read_message,
    scan_event_flags,
};
use crate::cpuid::Discovery;
use crate::msr::{self, PageRegister, SintRegister};
use crate::{MsrFault, PAGE_SIZE, Processor};

/// A page given to the SynIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynicPage {
    /// Where the guest maps it; a multiple of 4096.
    pub base: NonNull<u8>,
    /// Its guest page frame number.
    pub page_frame: u64,
}

/// The two pages given to the SynIC of one virtual processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynicPages {
    /// For messages.
    pub messages: SynicPage,
    /// For event flags.
    pub event_flags: SynicPage,
}

/// How an interrupt source is to behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Which one.
    pub sint: SintIndex,
    /// Interrupt vector, at least [`SintRegister::VECTOR_MIN`].
    pub vector: u8,
    /// The hypervisor ends the interrupt; the handler must not. Not to be used
    /// where [`Discovery::recommends_auto_eoi`] says no.
    pub auto_eoi: bool,
    /// No interrupts at all: the guest polls the pages. Needs
    /// [`Features::SINT_POLLING`](crate::cpuid::Features::SINT_POLLING).
    pub polling: bool,
}

impl Source {
    /// The source of VMBus with this vector. The hypervisor ends its
    /// interrupts only if it recommends so.
    #[must_use]
    pub const fn vmbus(vector: u8, discovery: &Discovery) -> Self {
        Self {
            sint: SintIndex::VMBUS,
            vector,
            auto_eoi: discovery.recommends_auto_eoi(),
            polling: false,
        }
    }

    /// What to write to the source's register, given what it holds.
    const fn apply(self, register: SintRegister) -> SintRegister {
        register
            .with_vector(self.vector)
            .with_auto_eoi(self.auto_eoi)
            .with_polling(self.polling)
            .with_masked(false)
    }
}

/// Why the SynIC could not be enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnableError {
    /// A page is not aligned to 4096 bytes. Nothing was changed.
    Misaligned {
        /// Address of the page.
        address: usize,
    },
    /// Both pages have one frame. Nothing was changed.
    SamePage {
        /// The frame.
        page_frame: u64,
    },
    /// The vector is below [`SintRegister::VECTOR_MIN`]. Nothing was changed.
    Vector {
        /// The vector.
        vector: u8,
    },
    /// A register could not be accessed.
    Fault {
        /// The first register that refused.
        fault: MsrFault,
        /// What had been done was undone, so the pages are the guest's again.
        /// If not, the hypervisor may still write them: leak them.
        pages_released: bool,
    },
}

impl fmt::Display for EnableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misaligned { address } => {
                write!(f, "SynIC page at {address:#x} is not page-aligned")
            }
            Self::SamePage { page_frame } => {
                write!(f, "both SynIC pages have frame {page_frame:#x}")
            }
            Self::Vector { vector } => write!(f, "interrupt vector {vector} is below 16"),
            Self::Fault { fault, .. } => fault.fmt(f),
        }
    }
}

impl core::error::Error for EnableError {}

/// The enabled SynIC of one virtual processor.
#[derive(Debug)]
pub struct Synic {
    messages: NonNull<MessagePage>,
    event_flags: NonNull<EventFlagsPage>,
}

// SAFETY: the pages hold atomics only, which any thread may access.
unsafe impl Send for Synic {}
// SAFETY: as for `Send`.
unsafe impl Sync for Synic {}

impl Synic {
    /// Zeroes the pages and enables the SynIC of this virtual processor with
    /// them and with one interrupt source.
    ///
    /// Bits of the registers that have no meaning here stay as they are.
    /// Messages that came while the source was masked raise no interrupt: read
    /// once after this returns.
    ///
    /// # Errors
    ///
    /// [`EnableError`]; after a fault, what was enabled is disabled again.
    ///
    /// # Safety
    ///
    /// Both pages must be the caller's alone, with the frame numbers that
    /// belong to their addresses, and stay allocated until
    /// [`disable`](Self::disable) has returned success. The caller must stay on
    /// this virtual processor for the whole call, with interrupts off or a
    /// handler in place for the vector.
    pub unsafe fn enable<P: Processor + ?Sized>(
        processor: &P,
        pages: SynicPages,
        source: Source,
    ) -> Result<Self, EnableError> {
        for page in [pages.messages, pages.event_flags] {
            let address = page.base.as_ptr().addr();
            if !address.is_multiple_of(PAGE_SIZE) {
                return Err(EnableError::Misaligned { address });
            }
        }
        if pages.messages.page_frame == pages.event_flags.page_frame {
            return Err(EnableError::SamePage {
                page_frame: pages.messages.page_frame,
            });
        }
        if source.vector < SintRegister::VECTOR_MIN {
            return Err(EnableError::Vector {
                vector: source.vector,
            });
        }

        let synic = Self {
            messages: pages.messages.base.cast(),
            event_flags: pages.event_flags.base.cast(),
        };
        // A simple host uses the memory as it finds it.
        synic.message_page().clear();
        synic.event_flags_page().clear();

        let mut given = [(msr::SIMP, false), (msr::SIEFP, false)];
        let frames = [pages.messages.page_frame, pages.event_flags.page_frame];
        let mut enable = || {
            for ((register, given), frame) in given.iter_mut().zip(frames) {
                // SAFETY: the caller gives the pages away.
                unsafe { set_page(processor, *register, Some(frame))? };
                *given = true;
            }
            // SAFETY: the caller handles the vector, and the pages are in place.
            unsafe {
                unmask(processor, source)?;
                set_global(processor, true)
            }
        };
        let Err(fault) = enable() else {
            return Ok(synic);
        };
        // The pages decide what becomes of the memory; whether the source can
        // be masked again does not change that.
        let _ = mask(processor, source.sint);
        let mut pages_released = true;
        for (register, given) in given {
            // SAFETY: a page is taken back.
            pages_released &= !given || unsafe { set_page(processor, register, None) }.is_ok();
        }
        Err(EnableError::Fault {
            fault,
            pages_released,
        })
    }

    /// The message page.
    #[must_use]
    pub fn message_page(&self) -> &MessagePage {
        // SAFETY: `enable` checked the alignment, its caller vouched for the
        // memory, and atomics may be shared with the hypervisor.
        unsafe { self.messages.as_ref() }
    }

    /// The event flags page.
    #[must_use]
    pub fn event_flags_page(&self) -> &EventFlagsPage {
        // SAFETY: as for the message page.
        unsafe { self.event_flags.as_ref() }
    }

    /// Reads the message of an interrupt source, if there is one; see
    /// [`read_message`](fn@read_message). To be called on the virtual processor
    /// that the SynIC belongs to.
    ///
    /// # Errors
    ///
    /// [`ReadMessageError`]; the slot is free again in any case.
    pub fn read_message<P: Processor + ?Sized>(
        &self,
        processor: &P,
        sint: SintIndex,
    ) -> Result<Option<Message>, ReadMessageError> {
        read_message(processor, self.message_page(), sint)
    }

    /// Clears the event flags of an interrupt source and calls `handle` with
    /// each one that was set; see [`scan_event_flags`](fn@scan_event_flags).
    pub fn scan_event_flags(&self, sint: SintIndex, handle: impl FnMut(u16)) {
        scan_event_flags(self.event_flags_page(), sint, handle);
    }

    /// Masks the source and disables the SynIC of this virtual processor.
    ///
    /// Messages and flags that are still in the pages stay readable there; no
    /// new ones arrive.
    ///
    /// # Errors
    ///
    /// [`MsrFault`] for the first register that refused; the others were
    /// written nevertheless. The hypervisor may then still write the pages:
    /// leak them.
    ///
    /// # Safety
    ///
    /// The caller must be on the virtual processor that the SynIC belongs to,
    /// with interrupts off.
    pub unsafe fn disable<P: Processor + ?Sized>(
        &self,
        processor: &P,
        sint: SintIndex,
    ) -> Result<(), MsrFault> {
        // SAFETY: the caller's promise is the one that this call asks for.
        unsafe { switch_off(processor, sint) }
    }
}

/// Programs an interrupt source of this virtual processor and unmasks it.
/// What arrived while it was masked raises no interrupt: poll once afterwards.
///
/// # Errors
///
/// [`MsrFault`] if the partition has no access, or the vector is below
/// [`SintRegister::VECTOR_MIN`].
///
/// # Safety
///
/// There must be a handler for the vector on this virtual processor, which
/// ends the interrupt unless `auto_eoi` is set.
pub unsafe fn unmask<P: Processor + ?Sized>(processor: &P, source: Source) -> Result<(), MsrFault> {
    let register = source.sint.register();
    let value = source.apply(SintRegister::from_bits(processor.read_msr(register)?));
    // SAFETY: the caller handles the interrupt.
    unsafe { processor.write_msr(register, value.bits()) }
}

/// Masks an interrupt source of this virtual processor.
///
/// # Errors
///
/// [`MsrFault`] if the partition has no access.
pub fn mask<P: Processor + ?Sized>(processor: &P, sint: SintIndex) -> Result<(), MsrFault> {
    let register = sint.register();
    let value = SintRegister::from_bits(processor.read_msr(register)?).with_masked(true);
    // SAFETY: a masked source does nothing.
    unsafe { processor.write_msr(register, value.bits()) }
}

/// Enables a page register with a frame, or disables it.
///
/// # Safety
///
/// The page must be the hypervisor's to use from now on.
pub(crate) unsafe fn set_page<P: Processor + ?Sized>(
    processor: &P,
    register: u32,
    page_frame: Option<u64>,
) -> Result<(), MsrFault> {
    let value = PageRegister::from_bits(processor.read_msr(register)?)
        .with_page_frame(page_frame.unwrap_or(0))
        .with_enabled(page_frame.is_some());
    // SAFETY: the caller gives the page away.
    unsafe { processor.write_msr(register, value.bits()) }
}

/// # Safety
///
/// The pages of this virtual processor must be in place.
unsafe fn set_global<P: Processor + ?Sized>(processor: &P, enable: bool) -> Result<(), MsrFault> {
    let before = processor.read_msr(msr::SCONTROL)?;
    let bit = msr::SCONTROL_ENABLE;
    let value = if enable { before | bit } else { before & !bit };
    // SAFETY: the caller has put the pages in place.
    unsafe { processor.write_msr(msr::SCONTROL, value) }
}

/// Undoes `enable` in reverse order, past faults.
///
/// # Safety
///
/// The caller must be on the virtual processor that is meant.
pub(crate) unsafe fn switch_off<P: Processor + ?Sized>(
    processor: &P,
    sint: SintIndex,
) -> Result<(), MsrFault> {
    // SAFETY: disabling takes pages back and gives none away.
    let steps = unsafe {
        [
            mask(processor, sint),
            set_page(processor, msr::SIMP, None),
            set_page(processor, msr::SIEFP, None),
            set_global(processor, false),
        ]
    };
    steps.into_iter().collect()
}
