//! Speed of the storage stack, all validation on: the guest's request queue, rings, the host's device, an image.
//!
//! Rows of one thread are measured in that thread's processor time, rows of two threads in time that passes. An
//! iteration is as many requests of 4 KiB as the row's name says are in flight; the throughput column gives
//! requests. In `two_threads` rows the guest's virtual processor and the host's worker for the channel are threads,
//! and every signal between them goes through the hypervisor shim; signals per request are printed, exactly.

mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use host_sim::disk::DiskImage;
use host_sim::host::Traffic;

use support::images;
use support::one_thread::{OneThread, Walk, Work};
use support::processor_time::ProcessorTime;
use support::two_threads::{DEPTH, TwoThreads};

type Image = fn() -> Arc<dyn DiskImage>;

fn one_thread(criterion: &mut Criterion<ProcessorTime>) {
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

fn two_threads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("storage");
    group.throughput(Throughput::Elements(DEPTH as u64));
    let rows: [(&str, Image, Work); 3] = [
        ("read_4k_two_threads_qd64", images::memory, Work::Read),
        ("write_4k_two_threads_qd64", images::memory, Work::Write),
        ("file_read_4k_two_threads_qd64", images::file, Work::Read),
    ];
    for (name, image, work) in rows {
        // Made once, so that the signals of all the row's samples are counted together.
        let mut measured: Option<TwoThreads> = None;
        group.bench_function(name, |bencher| {
            let ends = measured.get_or_insert_with(|| TwoThreads::new(image()));
            let mut walk = Walk::new(work);
            bencher.iter_custom(|iterations| {
                let count = usize::try_from(iterations).expect("a small number") * DEPTH;
                let start = Instant::now();
                ends.run(&mut walk, count);
                start.elapsed()
            });
        });
        if let Some(ends) = measured {
            report(name, &ends.traffic());
        }
    }
    group.finish();
}

/// Prints how many signals a row took.
fn report(name: &str, traffic: &Traffic) {
    let each = |signals: u64| {
        let commands = traffic.storage_commands;
        format!(
            "{signals} signals for {commands} requests, 1 for {:.0}",
            commands as f64 / signals as f64
        )
    };
    println!(
        "storage/{name}: guest to host {}",
        each(traffic.guest_signals)
    );
    println!(
        "storage/{name}: host to guest {}",
        each(traffic.host_interrupts)
    );
}

criterion_group!(
    name = single;
    config = Criterion::default().with_measurement(ProcessorTime);
    targets = one_thread
);
criterion_group!(double, two_threads);
criterion_main!(single, double);
