//! The two values in registers: hypercall input value and result value.

use core::fmt;

use super::{CallCode, CallKind, Status};

/// Hypercall input value: which call, and the shape of its parameters.
///
/// | Bits | Field |
/// |---|---|
/// | 15:0 | call code |
/// | 16 | fast |
/// | 26:17 | variable header size in 8-byte words |
/// | 31 | nested |
/// | 43:32 | rep count |
/// | 59:48 | rep start index |
///
/// All other bits are reserved and zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Control(u64);

/// Why a control value cannot be served. Its status is always
/// [`Status::INVALID_HYPERCALL_INPUT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlError {
    /// Reserved bits are set.
    Reserved {
        /// The reserved bits that are set.
        bits: u64,
    },
    /// The call is meant for a hypervisor below.
    Nested,
    /// A list is given to a call that has none, or none to one that needs it.
    RepCount {
        /// Rep count of the value.
        count: u16,
    },
    /// The start index lies behind the list.
    RepStart {
        /// Rep start index of the value.
        start: u16,
        /// Rep count of the value.
        count: u16,
    },
    /// A variable header is given to a call that has none.
    VariableHeader {
        /// Size of the header in 8-byte words.
        words: u16,
    },
}

impl ControlError {
    /// Status with which a host answers.
    #[must_use]
    pub const fn status(self) -> Status {
        Status::INVALID_HYPERCALL_INPUT
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved { bits } => write!(f, "reserved control bits {bits:#x} are set"),
            Self::Nested => f.write_str("the nested bit is set"),
            Self::RepCount { count } => write!(f, "rep count {count} does not suit the call"),
            Self::RepStart { start, count } => {
                write!(f, "rep start index {start} is not below the count {count}")
            }
            Self::VariableHeader { words } => write!(
                f,
                "variable header of {words} words for a call that has none"
            ),
        }
    }
}

impl core::error::Error for ControlError {}

impl Control {
    const FAST: u64 = 1 << 16;
    const VARIABLE_SHIFT: u32 = 17;
    const NESTED: u64 = 1 << 31;
    const COUNT_SHIFT: u32 = 32;
    const START_SHIFT: u32 = 48;
    const RESERVED: u64 = 0xF << 27 | 0xF << 44 | 0xF << 60;

    /// Most elements of one rep call.
    pub const REP_COUNT_MAX: u16 = 0xFFF;
    /// Most 8-byte words of a variable header.
    pub const VARIABLE_WORDS_MAX: u16 = 0x3FF;

    /// A simple call with its parameters in memory.
    #[must_use]
    pub const fn new(code: CallCode) -> Self {
        Self(code.0 as u64)
    }

    /// The same call with its parameters in registers.
    #[must_use]
    pub const fn with_fast(self) -> Self {
        Self(self.0 | Self::FAST)
    }

    /// The same call with a variable header of `words` times 8 bytes; `None`
    /// above [`VARIABLE_WORDS_MAX`](Self::VARIABLE_WORDS_MAX).
    #[must_use]
    pub const fn with_variable_words(self, words: u16) -> Option<Self> {
        if words > Self::VARIABLE_WORDS_MAX {
            return None;
        }
        let field = (Self::VARIABLE_WORDS_MAX as u64) << Self::VARIABLE_SHIFT;
        Some(Self(
            (self.0 & !field) | (words as u64) << Self::VARIABLE_SHIFT,
        ))
    }

    /// The same call over a list of `count` elements, beginning at element
    /// `start`; `None` unless `start` is below `count` and `count` at most
    /// [`REP_COUNT_MAX`](Self::REP_COUNT_MAX).
    #[must_use]
    pub const fn with_rep(self, count: u16, start: u16) -> Option<Self> {
        if count > Self::REP_COUNT_MAX || start >= count {
            return None;
        }
        let fields = (Self::REP_COUNT_MAX as u64) << Self::COUNT_SHIFT
            | (Self::REP_COUNT_MAX as u64) << Self::START_SHIFT;
        Some(Self(
            (self.0 & !fields)
                | (count as u64) << Self::COUNT_SHIFT
                | (start as u64) << Self::START_SHIFT,
        ))
    }

    /// The value as it came from a guest, unchecked.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The value as it goes into the register.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The call.
    #[must_use]
    pub const fn code(self) -> CallCode {
        CallCode(self.0 as u16)
    }

    /// Whether the parameters are in registers.
    #[must_use]
    pub const fn is_fast(self) -> bool {
        self.0 & Self::FAST != 0
    }

    /// Size of the variable header in 8-byte words.
    #[must_use]
    pub const fn variable_words(self) -> u16 {
        (self.0 >> Self::VARIABLE_SHIFT) as u16 & Self::VARIABLE_WORDS_MAX
    }

    /// Whether the call is meant for a hypervisor below this one.
    #[must_use]
    pub const fn is_nested(self) -> bool {
        self.0 & Self::NESTED != 0
    }

    /// Elements of the list; 0 for a simple call.
    #[must_use]
    pub const fn rep_count(self) -> u16 {
        (self.0 >> Self::COUNT_SHIFT) as u16 & Self::REP_COUNT_MAX
    }

    /// First element to work on.
    #[must_use]
    pub const fn rep_start(self) -> u16 {
        (self.0 >> Self::START_SHIFT) as u16 & Self::REP_COUNT_MAX
    }

    /// Checks everything that the value alone can get wrong, for a call of
    /// this kind: reserved bits, nesting, list and variable header.
    ///
    /// # Errors
    ///
    /// [`ControlError`] with the first rule that is broken.
    pub const fn check(self, kind: CallKind) -> Result<(), ControlError> {
        let (count, start) = (self.rep_count(), self.rep_start());
        if self.0 & Self::RESERVED != 0 {
            return Err(ControlError::Reserved {
                bits: self.0 & Self::RESERVED,
            });
        }
        if self.is_nested() {
            return Err(ControlError::Nested);
        }
        if kind.is_rep() != (count != 0) {
            return Err(ControlError::RepCount { count });
        }
        if start != 0 && start >= count {
            return Err(ControlError::RepStart { start, count });
        }
        if !kind.is_variable() && self.variable_words() != 0 {
            return Err(ControlError::VariableHeader {
                words: self.variable_words(),
            });
        }
        Ok(())
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("code", &self.code())
            .field("fast", &self.is_fast())
            .field("variable_words", &self.variable_words())
            .field("nested", &self.is_nested())
            .field("rep_count", &self.rep_count())
            .field("rep_start", &self.rep_start())
            .field("reserved", &(self.0 & Self::RESERVED))
            .finish()
    }
}

/// Hypercall result value: status and, for a rep call, elements done.
///
/// Bits without a meaning are dropped on construction, as the TLFS asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallResult {
    status: Status,
    completed: u16,
}

impl CallResult {
    const COMPLETED_SHIFT: u32 = 32;

    /// Success of a simple call.
    pub const SUCCESS: Self = Self::new(Status::SUCCESS, 0);

    /// A status after `completed` elements of the list, counted from its first
    /// element. A list has at most 4095 elements; more bits are dropped.
    #[must_use]
    pub const fn new(status: Status, completed: u16) -> Self {
        Self {
            status,
            completed: completed & Control::REP_COUNT_MAX,
        }
    }

    /// The value as the hypervisor returned it.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self::new(Status(bits as u16), (bits >> Self::COMPLETED_SHIFT) as u16)
    }

    /// The value as a host returns it.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.status.0 as u64 | (self.completed as u64) << Self::COMPLETED_SHIFT
    }

    /// Status of the call.
    #[must_use]
    pub const fn status(self) -> Status {
        self.status
    }

    /// Elements done, counted from the first element of the list rather than
    /// from the start index. At most 4095.
    #[must_use]
    pub const fn completed(self) -> u16 {
        self.completed
    }
}

impl From<Status> for CallResult {
    fn from(status: Status) -> Self {
        Self::new(status, 0)
    }
}
