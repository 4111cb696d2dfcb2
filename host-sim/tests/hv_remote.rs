//! Hypercalls that act on other processors: flushes of translations and interrupts, and who may make them.

mod hv_support;

use std::sync::{Arc, Mutex};

use host_sim::hv::{HvConfig, HvError, TlbFlusher};
use host_sim::memory::PAGE_SIZE;
use hv_support::{Fixture, INPUT_FRAME};
use hypercall::call::{
    CallCode, CallResult, Control, FlushFlags, FlushVirtualAddressSpace,
    FlushVirtualAddressSpaceEx, GvaRange, ProcessorSet, SendSyntheticClusterIpi,
    SendSyntheticClusterIpiEx, SparseSet, Status,
};
use hypercall::cpuid::Recommendations;
use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

const VECTOR: u8 = 0xFC;

/// Writes down who was to flush for whom.
#[derive(Default)]
struct Flushes(Mutex<Vec<(u32, Vec<u32>)>>);

impl TlbFlusher for Flushes {
    fn flush(&self, caller: u32, vps: &mut dyn Iterator<Item = u32>) {
        self.0.lock().unwrap().push((caller, vps.collect()));
    }
}

impl Flushes {
    fn take(&self) -> Vec<(u32, Vec<u32>)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Four processors that are recommended these.
fn recommended(recommendations: Recommendations) -> (Fixture, Arc<Flushes>) {
    let flushes = Arc::new(Flushes::default());
    let flusher = flushes.clone();
    let fixture = Fixture::with(move |config: &mut HvConfig| {
        config.flusher = Some(flusher);
        config.recommendations |= recommendations;
        config.vp_count = 4;
    });
    fixture.install_hypercall_page();
    (fixture, flushes)
}

fn everything() -> (Fixture, Arc<Flushes>) {
    recommended(
        Recommendations::REMOTE_FLUSH
            | Recommendations::CLUSTER_IPI
            | Recommendations::EX_PROCESSOR_MASKS,
    )
}

fn set(vps: &[u32]) -> ProcessorSet {
    let mut set = SparseSet::new();
    for &vp in vps {
        set.insert(vp).unwrap();
    }
    ProcessorSet::Sparse(set)
}

fn banks(set: &ProcessorSet) -> Vec<u8> {
    let mut bytes = [0; 512];
    let length = set.emit_banks(&mut bytes).unwrap();
    bytes[..length].to_vec()
}

fn flush_space(fixture: &Fixture, flags: FlushFlags, mask: u64) -> CallResult {
    let call = FlushVirtualAddressSpace::new(0x1234_5000, flags, mask);
    let input = fixture.input(call.as_bytes());
    let control = Control::new(CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE);
    fixture.call(control.bits(), input, 0)
}

fn flush_list(fixture: &Fixture, flags: FlushFlags, mask: u64, count: u16) -> CallResult {
    let call = FlushVirtualAddressSpace::new(0x1234_5000, flags, mask);
    let mut bytes = call.as_bytes().to_vec();
    for page in 0..u64::from(count) {
        bytes.extend(GvaRange::new(page << 12, 1).unwrap().as_bytes());
    }
    bytes.truncate(PAGE_SIZE as usize);
    let input = fixture.input(&bytes);
    let control = Control::new(CallCode::FLUSH_VIRTUAL_ADDRESS_LIST)
        .with_rep(count, 0)
        .unwrap();
    fixture.call(control.bits(), input, 0)
}

fn flush_ex(fixture: &Fixture, code: CallCode, set: &ProcessorSet, count: u16) -> CallResult {
    let call = FlushVirtualAddressSpaceEx::new(0, FlushFlags::ALL_ADDRESS_SPACES, set.header());
    let mut bytes = call.as_bytes().to_vec();
    bytes.extend(banks(set));
    bytes.extend(vec![0; usize::from(count) * 8]);
    let input = fixture.input(&bytes);
    let mut control = Control::new(code)
        .with_variable_words(set.variable_words())
        .unwrap();
    if count > 0 {
        control = control.with_rep(count, 0).unwrap();
    }
    fixture.call(control.bits(), input, 0)
}

#[test]
fn conformance_28_flushes_reach_the_processors_that_they_name() {
    let (fixture, flushes) = everything();
    let none = FlushFlags::empty();
    let all = vec![(0, vec![0, 1, 2, 3])];
    assert_eq!(flush_space(&fixture, none, 0b1010), CallResult::SUCCESS);
    assert_eq!(flushes.take(), [(0, vec![1, 3])]);
    // Processors that are not there are ignored.
    assert_eq!(flush_space(&fixture, none, !0), CallResult::SUCCESS);
    assert_eq!(flushes.take(), all);
    assert_eq!(flush_space(&fixture, none, 0), CallResult::SUCCESS);
    assert_eq!(flushes.take(), all);
    let everyone = FlushFlags::ALL_PROCESSORS | FlushFlags::NON_GLOBAL_MAPPINGS_ONLY;
    assert_eq!(flush_space(&fixture, everyone, 0b10), CallResult::SUCCESS);
    assert_eq!(flushes.take(), all);

    let done = CallResult::new(Status::SUCCESS, 5);
    assert_eq!(flush_list(&fixture, none, 0b100, 5), done);
    assert_eq!(flushes.take(), [(0, vec![2])]);

    let space = CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE_EX;
    let list = CallCode::FLUSH_VIRTUAL_ADDRESS_LIST_EX;
    for (code, count) in [(space, 0), (list, 7)] {
        let done = CallResult::new(Status::SUCCESS, count);
        assert_eq!(
            flush_ex(&fixture, code, &set(&[1, 2, 64, 200]), count),
            done
        );
        assert_eq!(flushes.take(), [(0, vec![1, 2])]);
        assert_eq!(flush_ex(&fixture, code, &ProcessorSet::All, count), done);
        assert_eq!(flushes.take(), all);
        assert_eq!(flush_ex(&fixture, code, &set(&[]), count), done);
        assert_eq!(flushes.take(), [(0, vec![])]);
    }
}

#[test]
fn bad_flushes_are_refused_and_flush_nothing() {
    let (fixture, flushes) = everything();
    for flags in [
        FlushFlags::EXTENDED_RANGE_FORMAT,
        FlushFlags::from_bits_retain(1 << 40),
    ] {
        let refused = Status::INVALID_PARAMETER.into();
        assert_eq!(flush_space(&fixture, flags, 1), refused);
        assert_eq!(flush_list(&fixture, flags, 1, 1), refused);
    }
    let whole_space_only = FlushFlags::NON_GLOBAL_MAPPINGS_ONLY;
    let result = flush_list(&fixture, whole_space_only, 1, 1);
    assert_eq!(result.status(), Status::INVALID_PARAMETER);
    // The list ends behind the page.
    let result = flush_list(&fixture, FlushFlags::empty(), 1, 510);
    assert_eq!(result.status(), Status::INVALID_HYPERCALL_INPUT);
    assert_eq!(
        flush_list(&fixture, FlushFlags::empty(), 0b1, 509).completed(),
        509
    );
    flushes.take();

    // Fast calls would need XMM registers.
    for code in [
        CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE,
        CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE_EX,
        CallCode::SEND_SYNTHETIC_CLUSTER_IPI_EX,
    ] {
        let fast = Control::new(code).with_fast().bits();
        assert_eq!(fixture.status(fast, 0, 0), Status::INVALID_HYPERCALL_INPUT);
    }

    // A set that announces another number of banks than the call has, and an unknown format.
    let call = FlushVirtualAddressSpaceEx::new(0, FlushFlags::empty(), set(&[1, 64]).header());
    let input = fixture.input(call.as_bytes());
    let control = Control::new(CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE_EX)
        .with_variable_words(1)
        .unwrap();
    let status = fixture.status(control.bits(), input, 0);
    assert_eq!(status, Status::INVALID_HYPERCALL_INPUT);
    let mut odd = call;
    odd.processors.format = 2.into();
    let input = fixture.input(odd.as_bytes());
    let status = fixture.status(control.bits(), input, 0);
    assert_eq!(status, Status::INVALID_PARAMETER);
    // More banks than a set can have.
    let control = Control::new(CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE_EX)
        .with_variable_words(65)
        .unwrap();
    let status = fixture.status(control.bits(), input, 0);
    assert_eq!(status, Status::INVALID_HYPERCALL_INPUT);
    // The banks would be in the next page.
    let end = (INPUT_FRAME + 1) * PAGE_SIZE - size_of_val(&call) as u64;
    fixture.memory.write(end, call.as_bytes()).unwrap();
    let control = Control::new(CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE_EX)
        .with_variable_words(2)
        .unwrap();
    let status = fixture.status(control.bits(), end, 0);
    assert_eq!(status, Status::INVALID_HYPERCALL_INPUT);
    assert_eq!(flushes.take(), []);
}

#[test]
fn interrupts_reach_the_processors_that_they_name() {
    let (fixture, _) = everything();
    let call = SendSyntheticClusterIpi::new(VECTOR, 0b1001_0110);
    let [first, second] = call.to_registers();
    let fast = SendSyntheticClusterIpi::CONTROL.bits();
    assert_eq!(fixture.status(fast, first, second), Status::SUCCESS);
    assert_eq!(fixture.interrupts(), [(1, VECTOR), (2, VECTOR)]);
    let memory = Control::new(CallCode::SEND_SYNTHETIC_CLUSTER_IPI).bits();
    let input = fixture.input(SendSyntheticClusterIpi::new(VECTOR, 0b1).as_bytes());
    assert_eq!(fixture.status(memory, input, 0), Status::SUCCESS);
    assert_eq!(fixture.interrupts(), [(0, VECTOR)]);

    let ex = |set: &ProcessorSet| {
        let call = SendSyntheticClusterIpiEx {
            vector: U32::new(VECTOR.into()),
            target_vtl: 0,
            reserved: [0; 3],
            processors: set.header(),
        };
        let mut bytes = call.as_bytes().to_vec();
        bytes.extend(banks(set));
        let input = fixture.input(&bytes);
        let control = Control::new(CallCode::SEND_SYNTHETIC_CLUSTER_IPI_EX)
            .with_variable_words(set.variable_words())
            .unwrap();
        let status = fixture.status(control.bits(), input, 0);
        (status, fixture.interrupts())
    };
    assert_eq!(ex(&set(&[3, 70])), (Status::SUCCESS, vec![(3, VECTOR)]));
    let all = (0..4).map(|vp| (vp, VECTOR)).collect();
    assert_eq!(ex(&ProcessorSet::All), (Status::SUCCESS, all));
    assert_eq!(ex(&set(&[])), (Status::SUCCESS, vec![]));

    let mut elsewhere = SendSyntheticClusterIpi::new(VECTOR, 1);
    elsewhere.target_vtl = 1;
    let mut reserved = SendSyntheticClusterIpi::new(VECTOR, 1);
    reserved.reserved[1] = 1;
    let mut large = SendSyntheticClusterIpi::new(VECTOR, 1);
    large.vector = U32::new(0x1FC);
    for call in [
        elsewhere,
        reserved,
        large,
        SendSyntheticClusterIpi::new(0x0F, 1),
    ] {
        let [first, second] = call.to_registers();
        let status = fixture.status(fast, first, second);
        assert_eq!(status, Status::INVALID_PARAMETER, "{call:?}");
    }
    assert_eq!(fixture.interrupts(), []);
}

#[test]
fn calls_that_are_not_recommended_do_not_exist() {
    let codes = [
        CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE,
        CallCode::FLUSH_VIRTUAL_ADDRESS_LIST,
        CallCode::SEND_SYNTHETIC_CLUSTER_IPI,
        CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE_EX,
        CallCode::FLUSH_VIRTUAL_ADDRESS_LIST_EX,
        CallCode::SEND_SYNTHETIC_CLUSTER_IPI_EX,
    ];
    for (recommendations, known) in [
        (Recommendations::empty(), [false; 6]),
        (
            Recommendations::REMOTE_FLUSH,
            [true, true, false, false, false, false],
        ),
        (
            Recommendations::CLUSTER_IPI | Recommendations::EX_PROCESSOR_MASKS,
            [false, false, true, false, false, true],
        ),
    ] {
        let (fixture, _) = recommended(recommendations);
        for (code, known) in codes.into_iter().zip(known) {
            let status = fixture.status(Control::new(code).bits(), 0, 0);
            let unknown = status == Status::INVALID_HYPERCALL_CODE;
            assert_ne!(unknown, known, "{code} with {recommendations:?}: {status}");
        }
    }
}

#[test]
fn flushes_are_not_recommended_where_nobody_flushes() {
    let fixture = Fixture::new();
    let mut config = fixture.hv.config().clone();
    config.recommendations |= Recommendations::REMOTE_FLUSH;
    let error = host_sim::hv::Hv::new(config).map(|_| ()).unwrap_err();
    assert!(matches!(error, HvError::Unimplemented(what)
        if what.recommendations == Recommendations::REMOTE_FLUSH));
}
