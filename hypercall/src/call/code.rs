//! Call codes.

use core::fmt;

/// Number of a hypercall. Open: a code without a name here is still a code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallCode(pub u16);

/// Shape of a call: which of the two counts of the control value it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// Fixed input.
    Simple,
    /// Input with a header of variable size.
    Variable,
    /// Repeated over a list of elements.
    Rep,
    /// Repeated, after a header of variable size.
    RepVariable,
}

impl CallKind {
    /// Whether the call works on a list of elements.
    #[must_use]
    pub const fn is_rep(self) -> bool {
        matches!(self, Self::Rep | Self::RepVariable)
    }

    /// Whether the call defines a header of variable size.
    #[must_use]
    pub const fn is_variable(self) -> bool {
        matches!(self, Self::Variable | Self::RepVariable)
    }
}

macro_rules! call_codes {
    ($($(#[$doc:meta])* $constant:ident = $value:literal, $name:literal, $kind:ident;)*) => {
        impl CallCode {
            $($(#[$doc])* pub const $constant: Self = Self($value);)*

            /// Name in the TLFS, if the code is one of those listed here.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($name),)*
                    _ => None,
                }
            }

            /// Shape of the call, if the code is one of those listed here.
            #[must_use]
            pub const fn kind(self) -> Option<CallKind> {
                match self.0 {
                    $($value => Some(CallKind::$kind),)*
                    _ => None,
                }
            }
        }
    };
}

call_codes! {
    /// Switch the address space.
    SWITCH_VIRTUAL_ADDRESS_SPACE = 0x0001, "SwitchVirtualAddressSpace", Simple;
    /// Flush address spaces from the TLBs of up to 64 processors.
    FLUSH_VIRTUAL_ADDRESS_SPACE = 0x0002, "FlushVirtualAddressSpace", Simple;
    /// Flush a list of pages from the TLBs of up to 64 processors.
    FLUSH_VIRTUAL_ADDRESS_LIST = 0x0003, "FlushVirtualAddressList", Rep;
    /// Tell that this processor waits long for a lock.
    NOTIFY_LONG_SPIN_WAIT = 0x0008, "NotifyLongSpinWait", Simple;
    /// Send an interrupt to up to 64 processors.
    SEND_SYNTHETIC_CLUSTER_IPI = 0x000B, "SendSyntheticClusterIpi", Simple;
    /// Flush address spaces from the TLBs of a set of processors.
    FLUSH_VIRTUAL_ADDRESS_SPACE_EX = 0x0013, "FlushVirtualAddressSpaceEx", Variable;
    /// Flush a list of pages from the TLBs of a set of processors.
    FLUSH_VIRTUAL_ADDRESS_LIST_EX = 0x0014, "FlushVirtualAddressListEx", RepVariable;
    /// Send an interrupt to a set of processors.
    SEND_SYNTHETIC_CLUSTER_IPI_EX = 0x0015, "SendSyntheticClusterIpiEx", Variable;
    /// Ask for the own partition's id.
    GET_PARTITION_ID = 0x0046, "GetPartitionId", Simple;
    /// Read registers of a virtual processor.
    GET_VP_REGISTERS = 0x0050, "GetVpRegisters", Rep;
    /// Write registers of a virtual processor.
    SET_VP_REGISTERS = 0x0051, "SetVpRegisters", Rep;
    /// Post a message to a connection.
    POST_MESSAGE = 0x005C, "PostMessage", Simple;
    /// Signal an event to a connection.
    SIGNAL_EVENT = 0x005D, "SignalEvent", Simple;
    /// Send data to the debugger.
    POST_DEBUG_DATA = 0x0069, "PostDebugData", Simple;
    /// Receive data from the debugger.
    RETRIEVE_DEBUG_DATA = 0x006A, "RetrieveDebugData", Simple;
    /// Reset the debugger's session.
    RESET_DEBUG_SESSION = 0x006B, "ResetDebugSession", Simple;
    /// Send a device's interrupts elsewhere.
    RETARGET_DEVICE_INTERRUPT = 0x007E, "RetargetDeviceInterrupt", Variable;
    /// Raise a virtual interrupt.
    ASSERT_VIRTUAL_INTERRUPT = 0x0094, "AssertVirtualInterrupt", Simple;
    /// Start a virtual processor.
    START_VIRTUAL_PROCESSOR = 0x0099, "StartVirtualProcessor", Simple;
    /// Translate APIC ids to indices of virtual processors.
    GET_VP_INDEX_FROM_APIC_ID = 0x009A, "GetVpIndexFromApicId", Rep;
    /// Share pages with the host, or take them back.
    MODIFY_SPARSE_GPA_PAGE_HOST_VISIBILITY = 0x00DB, "ModifySparseGpaPageHostVisibility", Rep;
    /// Read memory-mapped I/O.
    MEMORY_MAPPED_IO_READ = 0x0106, "MemoryMappedIoRead", Simple;
    /// Write memory-mapped I/O.
    MEMORY_MAPPED_IO_WRITE = 0x0107, "MemoryMappedIoWrite", Simple;
    /// Ask for the extended calls that exist.
    EXT_QUERY_CAPABILITIES = 0x8001, "ExtQueryCapabilities", Simple;
    /// Ask for memory that was zero at boot.
    EXT_GET_BOOT_ZEROED_MEMORY = 0x8002, "ExtGetBootZeroedMemory", Simple;
    /// Tell that memory is cold.
    EXT_MEMORY_HEAT_HINT = 0x8003, "ExtMemoryHeatHint", Rep;
}

impl CallCode {
    /// First code of the extended calls.
    pub const EXTENDED_FIRST: Self = Self(0x8001);

    /// Whether this is an extended call, which has a memory form only.
    #[must_use]
    pub const fn is_extended(self) -> bool {
        self.0 >= Self::EXTENDED_FIRST.0
    }
}

impl fmt::Debug for CallCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for CallCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({:#06x})", self.0),
            None => write!(f, "call {:#06x}", self.0),
        }
    }
}
