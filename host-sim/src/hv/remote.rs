//! Calls that act on other virtual processors: flushes of their translations, and interrupts. They exist only where the
//! partition is recommended to use them, and flush more than they are asked to (TLFS 9, spec 01, sections 4.3 and 4.4).

use hypercall::call::{
    CallResult, Control, FlushFlags, FlushVirtualAddressSpace, FlushVirtualAddressSpaceEx,
    GvaRange, IPI_VECTOR_MIN, ProcessorSet, SendSyntheticClusterIpi, SendSyntheticClusterIpiEx,
    SparseSet, Status, VpSetError, VpSetHeader,
};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use super::Hv;
use super::hypercall::HypercallRegisters;

/// Flags that every flush may have.
const FLAGS: FlushFlags = FlushFlags::ALL_PROCESSORS.union(FlushFlags::ALL_ADDRESS_SPACES);

/// Most banks of a processor set.
const MOST_BANKS: usize = 64;

impl Hv {
    /// FlushVirtualAddressSpace and FlushVirtualAddressList.
    pub(super) fn flush_call(
        &self,
        vp: u32,
        control: Control,
        registers: HypercallRegisters,
    ) -> CallResult {
        let mut input = [0; size_of::<FlushVirtualAddressSpace>()];
        if let Err(status) = self.read_flush(control, registers, &mut input, 0) {
            return status.into();
        }
        let call: FlushVirtualAddressSpace = zerocopy::transmute!(input);
        let processors = match call.processor_mask.get() {
            // Old hosts took no processor for all of them, and so may old guests.
            0 => ProcessorSet::All,
            mask => ProcessorSet::Sparse(first_64(mask)),
        };
        self.flush(vp, control, call.flags(), &processors)
    }

    /// FlushVirtualAddressSpaceEx and FlushVirtualAddressListEx.
    pub(super) fn flush_call_ex(
        &self,
        vp: u32,
        control: Control,
        registers: HypercallRegisters,
    ) -> CallResult {
        const HEADER: usize = size_of::<FlushVirtualAddressSpaceEx>();
        let mut input = [0; HEADER];
        let banks = usize::from(control.variable_words()) * size_of::<u64>();
        if let Err(status) = self.read_flush(control, registers, &mut input, banks) {
            return status.into();
        }
        let call: FlushVirtualAddressSpaceEx = zerocopy::transmute!(input);
        let place = registers.input + HEADER as u64;
        match self.read_set(control, &call.processors, place) {
            Ok(processors) => self.flush(vp, control, call.flags(), &processors),
            Err(status) => status.into(),
        }
    }

    /// Reads the fixed part of a flush, once the whole input is known to be in place: banks and list follow.
    fn read_flush(
        &self,
        control: Control,
        registers: HypercallRegisters,
        fixed: &mut [u8],
        banks: usize,
    ) -> Result<(), Status> {
        if control.is_fast() {
            // The rest would be in XMM registers, which are not offered.
            return Err(Status::INVALID_HYPERCALL_INPUT);
        }
        let list = usize::from(control.rep_count()) * size_of::<GvaRange>();
        self.check_area(registers.input, fixed.len() + banks + list)?;
        self.read_input(registers.input, fixed)
    }

    /// Whatever was to be flushed, all is. So the list's elements do not matter, and are done at once.
    fn flush(
        &self,
        vp: u32,
        control: Control,
        flags: FlushFlags,
        processors: &ProcessorSet,
    ) -> CallResult {
        let is_list = control.rep_count() != 0;
        let allowed = if is_list {
            FLAGS
        } else {
            FLAGS.union(FlushFlags::NON_GLOBAL_MAPPINGS_ONLY)
        };
        if !flags.difference(allowed).is_empty() {
            return Status::INVALID_PARAMETER.into();
        }
        let all = ProcessorSet::All;
        let processors = if flags.contains(FlushFlags::ALL_PROCESSORS) {
            &all
        } else {
            processors
        };
        // A partition without a flusher recommends no flush.
        if let Some(flusher) = &self.machine.config.flusher {
            flusher.flush(vp, &mut self.existing(processors));
        }
        CallResult::new(Status::SUCCESS, control.rep_count())
    }

    /// SendSyntheticClusterIpi.
    pub(super) fn ipi_call(&self, control: Control, registers: HypercallRegisters) -> Status {
        let call = if control.is_fast() {
            SendSyntheticClusterIpi::from_registers([registers.input, registers.output])
        } else {
            let mut input = [0; size_of::<SendSyntheticClusterIpi>()];
            if let Err(status) = self.read_input(registers.input, &mut input) {
                return status;
            }
            zerocopy::transmute!(input)
        };
        let processors = ProcessorSet::Sparse(first_64(call.processor_mask.get()));
        self.send_ipi(
            call.vector.get(),
            call.target_vtl,
            call.reserved,
            &processors,
        )
    }

    /// SendSyntheticClusterIpiEx.
    pub(super) fn ipi_call_ex(&self, control: Control, registers: HypercallRegisters) -> Status {
        if control.is_fast() {
            return Status::INVALID_HYPERCALL_INPUT;
        }
        let mut input = [0; size_of::<SendSyntheticClusterIpiEx>()];
        if let Err(status) = self.read_input(registers.input, &mut input) {
            return status;
        }
        let call: SendSyntheticClusterIpiEx = zerocopy::transmute!(input);
        let place = registers.input + input.len() as u64;
        match self.read_set(control, &call.processors, place) {
            Ok(processors) => self.send_ipi(
                call.vector.get(),
                call.target_vtl,
                call.reserved,
                &processors,
            ),
            Err(status) => status,
        }
    }

    fn send_ipi(
        &self,
        vector: u32,
        target_vtl: u8,
        reserved: [u8; 3],
        processors: &ProcessorSet,
    ) -> Status {
        let Some(vector) = u8::try_from(vector)
            .ok()
            .filter(|&vector| vector >= IPI_VECTOR_MIN)
        else {
            return Status::INVALID_PARAMETER;
        };
        if target_vtl != 0 || reserved != [0; 3] {
            return Status::INVALID_PARAMETER;
        }
        for vp in self.existing(processors) {
            self.machine.config.interrupts.inject(vp, vector);
        }
        Status::SUCCESS
    }

    /// Reads the banks of a processor set at `place`, which lie in the same page as what is before them.
    fn read_set(
        &self,
        control: Control,
        header: &VpSetHeader,
        place: u64,
    ) -> Result<ProcessorSet, Status> {
        let count = usize::from(control.variable_words());
        if count > MOST_BANKS {
            return Err(Status::INVALID_HYPERCALL_INPUT);
        }
        let mut banks = [U64::ZERO; MOST_BANKS];
        let banks = &mut banks[..count];
        if !place.is_multiple_of(crate::memory::PAGE_SIZE) {
            self.read_input(place, banks.as_mut_bytes())?;
        } else if count != 0 {
            return Err(Status::INVALID_HYPERCALL_INPUT);
        }
        ProcessorSet::parse(header, banks).map_err(|error| match error {
            VpSetError::BankCount { .. } => Status::INVALID_HYPERCALL_INPUT,
            _ => Status::INVALID_PARAMETER,
        })
    }

    /// The processors of a set that are there; others are ignored.
    fn existing<'a>(&self, processors: &'a ProcessorSet) -> impl Iterator<Item = u32> + use<'a> {
        (0..self.machine.config.vp_count).filter(move |&vp| match processors {
            ProcessorSet::All => true,
            ProcessorSet::Sparse(set) => set.contains(vp),
        })
    }
}

/// The set of a mask.
fn first_64(mask: u64) -> SparseSet {
    let mut set = SparseSet::new();
    for vp in (0..64).filter(|bit| mask & 1 << bit != 0) {
        // All of them fit into a set.
        let _ = set.insert(vp);
    }
    set
}
