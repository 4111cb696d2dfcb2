//! The rows of the table of figures.

/// One row: what is measured, where criterion leaves it, and the figure that is stated for it.
pub(super) struct Row {
    pub(super) work: &'static str,
    /// Criterion's `group/function` or `group/function/parameter`.
    pub(super) id: &'static str,
    /// What one iteration does, to divide by.
    pub(super) operations: f64,
    /// The stated figure: nanoseconds an operation at most.
    pub(super) stated: Option<f64>,
}

const fn row(work: &'static str, id: &'static str, operations: u32, stated: Option<u32>) -> Row {
    Row {
        work,
        id,
        operations: operations as f64,
        stated: match stated {
            Some(nanoseconds) => Some(nanoseconds as f64),
            None => None,
        },
    }
}

/// The packages and bench targets that hold the rows, with the group that each measures.
pub(super) const BENCHES: [(&str, &str); 2] = [("vmbus-core", "ring"), ("e2e-tests", "storage")];

/// All rows, in the order in which they are printed.
pub(super) const ROWS: [Row; 15] = [
    row(
        "ring: 64 B in-band, write+commit+read+commit",
        "ring/flat/in-band 64 B, target 38 ns",
        1,
        Some(38),
    ),
    row(
        "ring: the same, 16 committed together",
        "ring/flat/in-band 64 B x 16, target 24 ns each",
        16,
        Some(24),
    ),
    row(
        "ring: 1.5 KiB packet, send + receive",
        "ring/flat/in-band 1536 B, target 81 ns",
        1,
        Some(81),
    ),
    row(
        "ring: GPA-direct, 64 B + 1 page",
        "ring/flat/GPA-direct 64 B + 1 page, target 74 ns",
        1,
        Some(74),
    ),
    row(
        "ring: GPA-direct, 64 B + 64 pages",
        "ring/flat/GPA-direct 64 B + 64 pages, target 86 ns",
        1,
        Some(86),
    ),
    row(
        "storage: 4 KiB read, one thread, QD 1",
        "storage/read_4k_qd1",
        1,
        Some(1350),
    ),
    row(
        "storage: 4 KiB read, one thread, QD 16",
        "storage/read_4k_qd16",
        16,
        Some(670),
    ),
    row(
        "storage: 4 KiB write, one thread, QD 1",
        "storage/write_4k_qd1",
        1,
        None,
    ),
    row(
        "storage: 4 KiB write, one thread, QD 16",
        "storage/write_4k_qd16",
        16,
        None,
    ),
    row(
        "storage: 4 KiB read of a cached file, QD 1",
        "storage/file_read_4k_qd1",
        1,
        None,
    ),
    row(
        "storage: 4 KiB read of a cached file, QD 16",
        "storage/file_read_4k_qd16",
        16,
        None,
    ),
    row(
        "storage: 4 KiB write of a cached file, QD 16",
        "storage/file_write_4k_qd16",
        16,
        None,
    ),
    row(
        "storage: 4 KiB read, two threads, QD 64",
        "storage/read_4k_two_threads_qd64",
        64,
        // 300,000 requests a second, the lower end of what is stated.
        Some(3333),
    ),
    row(
        "storage: 4 KiB write, two threads, QD 64",
        "storage/write_4k_two_threads_qd64",
        64,
        None,
    ),
    row(
        "storage: cached file, two threads, QD 64",
        "storage/file_read_4k_two_threads_qd64",
        64,
        None,
    ),
];
