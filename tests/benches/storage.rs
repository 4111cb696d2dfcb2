//! Speed of the storage stack, all validation on: the guest's request queue, rings, the host's device, an image.
//!
//! An iteration is as many requests of 4 KiB as the row's name says are in flight; the throughput column gives
//! requests. In `two_threads` rows the guest's virtual processor and the host's worker for the channel are threads,
//! and every signal between them goes through the hypervisor shim; signals per request are printed, exactly.

mod support;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use host_sim::disk::DiskImage;

use support::images;
use support::one_thread::{OneThread, Walk, Work};

type Image = fn() -> Arc<dyn DiskImage>;

fn one_thread(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("storage");
    let rows: [(&str, Image, Work, usize); 7] = [
        ("read_4k_qd1", images::memory, Work::Read, 1),
        ("read_4k_qd16", images::memory, Work::Read, 16),
        ("write_4k_qd1", images::memory, Work::Write, 1),
        ("write_4k_qd16", images::memory, Work::Write, 16),
        ("file_read_4k_qd1", images::file, Work::Read, 1),
        ("file_read_4k_qd16", images::file, Work::Read, 16),
        ("file_write_4k_qd16", images::file, Work::Write, 16),
    ];
    for (name, image, work, depth) in rows {
        group.throughput(Throughput::Elements(depth as u64));
        group.bench_function(name, |bencher| {
            let mut ends = OneThread::new(image());
            let mut walk = Walk::new(work);
            bencher.iter(|| black_box(&mut ends).run(&mut walk, depth));
        });
    }
    group.finish();
}

criterion_group!(benches, one_thread);
criterion_main!(benches);
