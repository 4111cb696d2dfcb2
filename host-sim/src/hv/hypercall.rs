//! Hypercalls: decoding, checks in the order of the TLFS, and the calls themselves.

use hypercall::call::{CallCode, CallKind, CallResult, Control, PostMessage, SignalEvent, Status};
use hypercall::cpuid::{HypercallPrivileges, Recommendations};
use zerocopy::FromBytes;

use super::Hv;
use crate::memory::PAGE_SIZE;

/// The three registers that a hypercall takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HypercallRegisters {
    /// Input value: RCX, or EDX:EAX of a 32-bit caller.
    pub control: u64,
    /// Address of the input area or first 8 bytes: RDX, or EBX:ECX.
    pub input: u64,
    /// Address of the output area or second 8 bytes: R8, or EDI:ESI.
    pub output: u64,
}

/// The id that this partition calls its own.
pub const PARTITION_ID: u64 = 1;

/// Alignment of input and output areas, in bytes.
const AREA_ALIGNMENT: u64 = 8;

/// A call code that is known here: its shape, and the privilege for it.
#[derive(Clone, Copy)]
struct Call {
    kind: CallKind,
    privilege: HypercallPrivileges,
}

impl Call {
    /// Codes that no privilege guards and that are not implemented are unknown, as the TLFS has it; so are those of
    /// calls that the partition is not recommended to make.
    fn of(code: CallCode, recommendations: Recommendations) -> Option<Self> {
        let recommended = |what| {
            recommendations
                .contains(what)
                .then_some(HypercallPrivileges::empty())
        };
        let privilege = match code {
            CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE | CallCode::FLUSH_VIRTUAL_ADDRESS_LIST => {
                recommended(Recommendations::REMOTE_FLUSH)?
            }
            CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE_EX | CallCode::FLUSH_VIRTUAL_ADDRESS_LIST_EX => {
                recommended(Recommendations::REMOTE_FLUSH | Recommendations::EX_PROCESSOR_MASKS)?
            }
            CallCode::SEND_SYNTHETIC_CLUSTER_IPI => recommended(Recommendations::CLUSTER_IPI)?,
            CallCode::SEND_SYNTHETIC_CLUSTER_IPI_EX => {
                recommended(Recommendations::CLUSTER_IPI | Recommendations::EX_PROCESSOR_MASKS)?
            }
            CallCode::NOTIFY_LONG_SPIN_WAIT => HypercallPrivileges::empty(),
            CallCode::POST_MESSAGE => HypercallPrivileges::POST_MESSAGES,
            CallCode::SIGNAL_EVENT => HypercallPrivileges::SIGNAL_EVENTS,
            CallCode::GET_PARTITION_ID => HypercallPrivileges::ACCESS_PARTITION_ID,
            CallCode::GET_VP_REGISTERS | CallCode::SET_VP_REGISTERS => {
                HypercallPrivileges::ACCESS_VP_REGISTERS
            }
            CallCode::POST_DEBUG_DATA
            | CallCode::RETRIEVE_DEBUG_DATA
            | CallCode::RESET_DEBUG_SESSION => HypercallPrivileges::DEBUGGING,
            CallCode::START_VIRTUAL_PROCESSOR | CallCode::GET_VP_INDEX_FROM_APIC_ID => {
                HypercallPrivileges::START_VIRTUAL_PROCESSOR
            }
            CallCode::MODIFY_SPARSE_GPA_PAGE_HOST_VISIBILITY => HypercallPrivileges::ISOLATION,
            CallCode::EXT_QUERY_CAPABILITIES
            | CallCode::EXT_GET_BOOT_ZEROED_MEMORY
            | CallCode::EXT_MEMORY_HEAT_HINT => HypercallPrivileges::EXTENDED_HYPERCALLS,
            _ => return None,
        };
        Some(Self {
            kind: code.kind()?,
            privilege,
        })
    }
}

impl Hv {
    /// A virtual processor calls the hypercall page. Returns the result value for RAX (EDX:EAX).
    ///
    /// The back end has checked that the caller runs in ring 0 of protected mode; otherwise it injects #UD and does
    /// not come here. While the hypercall page is disabled every call ends with `INVALID_PARTITION_STATE`.
    pub fn hypercall(&self, vp: u32, registers: HypercallRegisters) -> u64 {
        let control = Control::from_bits(registers.control);
        self.counters.hypercall(control.code().0);
        let result = self.checked_call(vp, control, registers);
        if !result.status().is_success() {
            self.counters.hypercall_failed();
        }
        result.bits()
    }

    fn checked_call(&self, vp: u32, control: Control, registers: HypercallRegisters) -> CallResult {
        if !self.is_hypercall_page_enabled() {
            return Status::INVALID_PARTITION_STATE.into();
        }
        let Some(call) = Call::of(control.code(), self.machine.config.recommendations) else {
            return Status::INVALID_HYPERCALL_CODE.into();
        };
        let privileges = self.machine.config.hypercall_privileges;
        if !privileges.contains(call.privilege) {
            return Status::ACCESS_DENIED.into();
        }
        if let Err(error) = control.check(call.kind) {
            return error.status().into();
        }
        self.call(vp, control, registers)
    }

    fn call(&self, vp: u32, control: Control, registers: HypercallRegisters) -> CallResult {
        match control.code() {
            CallCode::POST_MESSAGE => self.post_message_call(control, registers).into(),
            CallCode::SIGNAL_EVENT => self.signal_event_call(control, registers).into(),
            CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE | CallCode::FLUSH_VIRTUAL_ADDRESS_LIST => {
                self.flush_call(vp, control, registers)
            }
            CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE_EX | CallCode::FLUSH_VIRTUAL_ADDRESS_LIST_EX => {
                self.flush_call_ex(vp, control, registers)
            }
            CallCode::SEND_SYNTHETIC_CLUSTER_IPI => self.ipi_call(control, registers).into(),
            CallCode::SEND_SYNTHETIC_CLUSTER_IPI_EX => self.ipi_call_ex(control, registers).into(),
            CallCode::NOTIFY_LONG_SPIN_WAIT => {
                std::thread::yield_now();
                Status::SUCCESS.into()
            }
            CallCode::GET_PARTITION_ID => self.simple_output(control, registers, PARTITION_ID),
            CallCode::GET_VP_REGISTERS => self.get_vp_registers(vp, control, registers),
            CallCode::SET_VP_REGISTERS => self.set_vp_registers(vp, control, registers),
            code if code.is_extended() && control.is_fast() => Status::INVALID_PARAMETER.into(),
            // No capability beyond this call itself.
            CallCode::EXT_QUERY_CAPABILITIES => self.simple_output(control, registers, 0),
            // Privileged calls that are not implemented need capabilities or privileges that are never granted.
            _ => Status::ACCESS_DENIED.into(),
        }
    }

    fn post_message_call(&self, control: Control, registers: HypercallRegisters) -> Status {
        if control.is_fast() {
            return Status::INVALID_HYPERCALL_INPUT;
        }
        let mut input = [0; size_of::<PostMessage>()];
        if let Err(status) = self.read_input(registers.input, &mut input) {
            return status;
        }
        let Ok(message) = PostMessage::read_from_bytes(&input) else {
            return Status::INVALID_HYPERCALL_INPUT;
        };
        if message.reserved.get() != 0 {
            return Status::INVALID_PARAMETER;
        }
        let payload = match message.check() {
            Ok(payload) => payload,
            Err(error) => return error.status(),
        };
        match self.message_ports.find(message.connection_id.get()) {
            Some(port) => port.post(message.message_type().0, payload),
            None => Status::INVALID_CONNECTION_ID,
        }
    }

    fn signal_event_call(&self, control: Control, registers: HypercallRegisters) -> Status {
        let mut input = [0; size_of::<SignalEvent>()];
        if control.is_fast() {
            input = registers.input.to_le_bytes();
        } else if let Err(status) = self.read_input(registers.input, &mut input) {
            return status;
        }
        let signal = SignalEvent::from_register(u64::from_le_bytes(input));
        if signal.reserved.get() != 0 {
            return Status::INVALID_HYPERCALL_INPUT;
        }
        let Some(port) = self.event_ports.find(signal.connection_id.get()) else {
            return Status::INVALID_CONNECTION_ID;
        };
        let flag = signal.flag_number.get();
        if flag >= port.flag_count() {
            return Status::INVALID_PARAMETER;
        }
        port.signal(flag)
    }

    /// A call without input whose output is one 64-bit value in memory.
    fn simple_output(
        &self,
        control: Control,
        registers: HypercallRegisters,
        value: u64,
    ) -> CallResult {
        if control.is_fast() {
            // The output of a fast call would be in XMM registers, which is not offered.
            return Status::INVALID_HYPERCALL_INPUT.into();
        }
        let output = value.to_le_bytes();
        match self.check_area(registers.output, output.len()) {
            Ok(()) => self.write_output(registers.output, &output).into(),
            Err(status) => status.into(),
        }
    }

    /// Copies an input area once into private memory.
    pub(super) fn read_input(&self, address: u64, into: &mut [u8]) -> Result<(), Status> {
        self.check_area(address, into.len())?;
        self.machine
            .memory()
            .read(address, into)
            .map_err(|_| Status::INVALID_PARAMETER)
    }

    /// Writes part of an output area that was checked as a whole.
    pub(super) fn write_output(&self, address: u64, bytes: &[u8]) -> Status {
        match self.machine.memory().write(address, bytes) {
            Ok(()) => Status::SUCCESS,
            Err(_) => Status::INVALID_PARAMETER,
        }
    }

    /// Checks that an input or output area is aligned, lies within one page, and is RAM.
    pub(super) fn check_area(&self, address: u64, length: usize) -> Result<(), Status> {
        if length == 0 {
            return Ok(());
        }
        if !address.is_multiple_of(AREA_ALIGNMENT) {
            return Err(Status::INVALID_ALIGNMENT);
        }
        if address % PAGE_SIZE + length as u64 > PAGE_SIZE {
            return Err(Status::INVALID_HYPERCALL_INPUT);
        }
        if !self.machine.memory().is_ram_page(address / PAGE_SIZE) {
            return Err(Status::INVALID_PARAMETER);
        }
        Ok(())
    }
}
