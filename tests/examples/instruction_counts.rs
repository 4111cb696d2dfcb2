//! Fixed amounts of the benches' work, for counting instructions: `instruction_counts WORK N`.
//!
//! `WORK` is one of `in_band_64`, `in_band_1536`, `gpa_direct_64` (one packet through a ring: write, commit, read,
//! commit), `storage_read_4k` and `storage_write_4k` (one request through the guest's request queue and the host's
//! device, one in flight). Two runs with different `N` under `valgrind --tool=callgrind` give the exact count of one
//! operation, start-up excluded; `cargo xtask bench` does that.

#[path = "../benches/support/mod.rs"]
#[allow(dead_code, reason = "the bench uses the rest")]
mod support;

use std::hint::black_box;
use std::process::ExitCode;

use host_sim::memory::{GuestMemory, PAGE_SIZE};
use host_sim::vmbus::vsp::GuestRing;
use support::images;
use support::one_thread::{OneThread, Walk, Work};
use vmbus_core::packet::{GpaRange, IncomingKind, OutgoingKind, OutgoingPacket};
use vmbus_core::ring::{IncomingRing, OutgoingRing};

/// Pages of the ring, its control page included.
const RING_PAGES: u64 = 17;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let work = arguments.next().unwrap_or_default();
    let count = arguments.next().and_then(|count| count.parse().ok());
    let Some(count) = count else {
        eprintln!("usage: instruction_counts WORK N");
        return ExitCode::from(2);
    };
    let frames: Vec<u64> = (100..164).collect();
    let range = [GpaRange {
        byte_count: 64 * PAGE_SIZE as u32,
        byte_offset: 0,
        page_frames: &frames,
    }];
    match work.as_str() {
        "in_band_64" => ring(OutgoingKind::InBand, 64, count),
        "in_band_1536" => ring(OutgoingKind::InBand, 1536, count),
        "gpa_direct_64" => ring(OutgoingKind::GpaDirect(&range), 64, count),
        "storage_read_4k" => storage(Work::Read, count),
        "storage_write_4k" => storage(Work::Write, count),
        _ => {
            eprintln!("there is no work called {work:?}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Sends `count` packets of `size` bytes of payload through a ring.
fn ring(kind: OutgoingKind<'_>, size: usize, count: u64) {
    let memory = GuestMemory::new(RING_PAGES * PAGE_SIZE).expect("memory");
    let frames: Vec<u64> = (0..RING_PAGES).collect();
    let pages = || GuestRing::new(&memory, &frames).expect("RAM");
    let mut outgoing = OutgoingRing::initialise(pages());
    let mut incoming = IncomingRing::attach(pages()).expect("a fresh ring");
    let content = vec![0x5A; size];
    let payload: [&[u8]; 1] = [&content];
    let packet = OutgoingPacket {
        transaction_id: 1,
        completion_requested: true,
        kind,
        payload: &payload,
    };
    let mut buffer = [0; 4096];
    for _ in 0..count {
        let _ = black_box(outgoing.send(black_box(&packet)).expect("room"));
        let mut batch = incoming.batch().expect("a sound ring");
        let received = batch.next(&mut buffer).expect("a sound packet");
        let received = received.expect("a packet");
        if let IncomingKind::GpaDirect(ranges) = received.kind {
            for range in ranges {
                black_box(range.page_frames.get(0));
            }
        }
        black_box(received.payload);
        let _ = black_box(batch.commit());
    }
}

/// Transfers 4 KiB `count` times, one request in flight.
fn storage(work: Work, count: u64) {
    let mut ends = OneThread::new(images::memory());
    let mut walk = Walk::new(work);
    for _ in 0..count {
        black_box(&mut ends).run(&mut walk, 1);
    }
}
