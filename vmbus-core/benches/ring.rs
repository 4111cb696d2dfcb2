//! Speed of the rings: one thread writes, commits, reads and commits, all validation on.
//!
//! Times are per round of the row's packets; the throughput column gives packets. Rows carry the figure to
//! beat in their name where there is one. The `barrier` group is the price of one full barrier in each way
//! of having it: every commit, of either end, has exactly one (a unit test counts them), so two of them are
//! the floor of a round.

use std::alloc::{Layout, alloc_zeroed};
use std::hint::black_box;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vmbus_core::packet::{GpaRange, IncomingKind, OutgoingKind, OutgoingPacket};
use vmbus_core::ring::testing::HeapRing;
use vmbus_core::ring::{FlatRing, IncomingRing, OutgoingRing, RingMemory};

/// Control page and data pages of the measured rings.
const PAGES: u32 = 1 + 16;

type Ends<M> = (OutgoingRing<M>, IncomingRing<M>);

/// Both ends of one ring in contiguous memory, which is never freed.
fn flat_ends() -> Ends<FlatRing> {
    let layout = Layout::from_size_align(PAGES as usize * 4096, 4096).expect("layout");
    // SAFETY: the layout has a size.
    let base = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("memory");
    // SAFETY: the pages are mapped for ever, and only these two ends touch them.
    let memory = || unsafe { FlatRing::new(base, PAGES) };
    let outgoing = OutgoingRing::initialise(memory());
    (
        outgoing,
        IncomingRing::attach(memory()).expect("fresh ring"),
    )
}

/// Both ends of one ring whose memory can only be copied to and from.
fn scattered_ends() -> Ends<HeapRing> {
    let memory = HeapRing::scattered((PAGES - 1) * 4096);
    let outgoing = OutgoingRing::initialise(memory.clone());
    (outgoing, IncomingRing::attach(memory).expect("fresh ring"))
}

/// Writes `count` copies of `packet`, commits, reads them back, commits.
#[inline]
fn round<M: RingMemory>(
    (outgoing, incoming): &mut Ends<M>,
    packet: &OutgoingPacket<'_>,
    count: usize,
    buffer: &mut [u8],
) -> u64 {
    let mut batch = outgoing.batch().expect("ring");
    for _ in 0..count {
        batch.push(black_box(packet)).expect("room");
    }
    let mut sum = u64::from(black_box(batch.commit()).is_needed());
    let mut batch = incoming.batch().expect("ring");
    while let Some(packet) = batch.next(buffer).expect("packet") {
        sum = sum.wrapping_add(packet.transaction_id);
        if let IncomingKind::GpaDirect(ranges) = packet.kind {
            for range in ranges {
                sum += range.page_frames.get(0).unwrap_or(0);
            }
        }
        black_box(packet.payload);
    }
    let _ = black_box(batch.commit());
    sum
}

fn packet<'a>(kind: OutgoingKind<'a>, payload: &'a [&'a [u8]]) -> OutgoingPacket<'a> {
    OutgoingPacket {
        transaction_id: 1,
        completion_requested: true,
        kind,
        payload,
    }
}

fn rings(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    let mut buffer = vec![0u8; 4096];
    let frames: Vec<u64> = (100..164).collect();
    let range = |pages: usize| {
        [GpaRange {
            byte_count: pages as u32 * 4096,
            byte_offset: 0,
            page_frames: &frames[..pages],
        }]
    };
    let (one, many) = (range(1), range(64));
    let spread: Vec<_> = frames
        .chunks(1)
        .map(|page_frames| GpaRange {
            page_frames,
            ..one[0]
        })
        .collect();
    let (small, large) = ([0x5Au8; 64], [0xA5u8; 1536]);
    let (small, large): ([&[u8]; 1], [&[u8]; 1]) = ([&small], [&large]);
    let odd: [&[u8]; 3] = [&[1; 13], &[2; 28], &[3; 19]];
    let rows = [
        (
            "in-band 64 B, target 38 ns",
            packet(OutgoingKind::InBand, &small),
            1,
        ),
        (
            "in-band 64 B x 16, target 24 ns each",
            packet(OutgoingKind::InBand, &small),
            16,
        ),
        (
            "in-band 1536 B, target 81 ns",
            packet(OutgoingKind::InBand, &large),
            1,
        ),
        (
            "GPA-direct 64 B + 1 page, target 74 ns",
            packet(OutgoingKind::GpaDirect(&one), &small),
            1,
        ),
        (
            "GPA-direct 64 B + 64 pages, target 86 ns",
            packet(OutgoingKind::GpaDirect(&many), &small),
            1,
        ),
        (
            "GPA-direct 64 B + 64 ranges",
            packet(OutgoingKind::GpaDirect(&spread), &small),
            1,
        ),
        (
            "in-band 60 B in 3 pieces",
            packet(OutgoingKind::InBand, &odd),
            1,
        ),
        ("completion", packet(OutgoingKind::Completion, &[]), 1),
    ];
    for (name, packet, count) in &rows {
        group.throughput(Throughput::Elements(*count as u64));
        let mut ends = flat_ends();
        group.bench_function(BenchmarkId::new("flat", name), |bencher| {
            bencher.iter(|| round(&mut ends, packet, *count, &mut buffer));
        });
    }
    for (name, packet, count) in rows.get(..3).unwrap_or_default() {
        group.throughput(Throughput::Elements(*count as u64));
        let mut ends = scattered_ends();
        group.bench_function(BenchmarkId::new("scattered", name), |bencher| {
            bencher.iter(|| round(&mut ends, packet, *count, &mut buffer));
        });
    }
    group.finish();
}

fn barriers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("barrier");
    let word = AtomicU32::new(0);
    let other = AtomicU32::new(0);
    let mut value = 0u32;
    group.bench_function("store and load, no barrier", |bencher| {
        bencher.iter(|| {
            value = value.wrapping_add(8);
            word.store(value, Ordering::Release);
            other.load(Ordering::Acquire)
        });
    });
    group.bench_function("sequentially consistent store (as used)", |bencher| {
        bencher.iter(|| {
            value = value.wrapping_add(8);
            word.store(value, Ordering::SeqCst);
            other.load(Ordering::SeqCst)
        });
    });
    #[cfg(target_arch = "x86_64")]
    group.bench_function("store, then mfence", |bencher| {
        bencher.iter(|| {
            value = value.wrapping_add(8);
            word.store(value, Ordering::Release);
            // SAFETY: only orders memory accesses.
            unsafe { std::arch::asm!("mfence", options(nostack, preserves_flags)) };
            other.load(Ordering::Acquire)
        });
    });
    group.bench_function("store, then fence", |bencher| {
        bencher.iter(|| {
            value = value.wrapping_add(8);
            word.store(value, Ordering::Release);
            fence(Ordering::SeqCst);
            other.load(Ordering::Acquire)
        });
    });
    group.finish();
}

criterion_group!(benches, rings, barriers);
criterion_main!(benches);
