//! Hypercall status codes.

use core::fmt;

/// Status of a hypercall. Open: a value without a name here is still a status,
/// and only [`SUCCESS`](Self::SUCCESS) means success.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(pub u16);

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl Status {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// Name in the TLFS without its `HV_STATUS_` prefix, if it has one
            /// here.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    /// Done.
    SUCCESS = 0x00;
    /// No such call.
    INVALID_HYPERCALL_CODE = 0x02;
    /// The control value breaks a rule.
    INVALID_HYPERCALL_INPUT = 0x03;
    /// A parameter area is not aligned.
    INVALID_ALIGNMENT = 0x04;
    /// A parameter has an impossible value.
    INVALID_PARAMETER = 0x05;
    /// The partition lacks the privilege.
    ACCESS_DENIED = 0x06;
    /// The partition is in the wrong state.
    INVALID_PARTITION_STATE = 0x07;
    /// Not allowed in this state.
    OPERATION_DENIED = 0x08;
    /// No such property.
    UNKNOWN_PROPERTY = 0x09;
    /// A property's value is out of range.
    PROPERTY_VALUE_OUT_OF_RANGE = 0x0A;
    /// The hypervisor lacks memory for it.
    INSUFFICIENT_MEMORY = 0x0B;
    /// No such partition.
    INVALID_PARTITION_ID = 0x0D;
    /// No such virtual processor.
    INVALID_VP_INDEX = 0x0E;
    /// Not found.
    NOT_FOUND = 0x10;
    /// No such port.
    INVALID_PORT_ID = 0x11;
    /// No such connection.
    INVALID_CONNECTION_ID = 0x12;
    /// The port's message buffers are all in use.
    INSUFFICIENT_BUFFERS = 0x13;
    /// Not acknowledged.
    NOT_ACKNOWLEDGED = 0x14;
    /// A virtual processor is in the wrong state.
    INVALID_VP_STATE = 0x15;
    /// Acknowledged.
    ACKNOWLEDGED = 0x16;
    /// Save or restore is in the wrong state.
    INVALID_SAVE_RESTORE_STATE = 0x17;
    /// The target's SynIC, its page or its source is off.
    INVALID_SYNIC_STATE = 0x18;
    /// The object is in use.
    OBJECT_IN_USE = 0x19;
    /// No data.
    NO_DATA = 0x1B;
    /// Inactive.
    INACTIVE = 0x1C;
    /// No resources.
    NO_RESOURCES = 0x1D;
    /// The feature is not available.
    FEATURE_UNAVAILABLE = 0x1E;
    /// The buffer is too small.
    INSUFFICIENT_BUFFER = 0x33;
    /// A register's value breaks a rule.
    INVALID_REGISTER_VALUE = 0x50;
    /// A virtual trust level is in the wrong state.
    INVALID_VTL_STATE = 0x51;
    /// No such device.
    INVALID_DEVICE_ID = 0x57;
    /// Failed.
    OPERATION_FAILED = 0x71;
    /// Timed out.
    TIMEOUT = 0x78;
    /// The virtual trust level is enabled already.
    VTL_ALREADY_ENABLED = 0x86;
    /// No such register.
    UNKNOWN_REGISTER = 0x87;
}

impl Status {
    /// Whether the call succeeded.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.0 == Self::SUCCESS.0
    }

    /// Success or this status as an error.
    ///
    /// # Errors
    ///
    /// Every status but [`SUCCESS`](Self::SUCCESS).
    pub const fn into_result(self) -> Result<(), Self> {
        if self.is_success() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({:#04x})", self.0),
            None => write!(f, "status {:#04x}", self.0),
        }
    }
}

impl core::error::Error for Status {}
