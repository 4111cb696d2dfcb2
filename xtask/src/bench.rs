//! `cargo xtask bench`: our figures beside the stated ones, measured in one run on this machine.

use std::path::{Path, PathBuf};

use crate::run::{self, Error, cargo, check, say};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only the benches whose names contain this
    filter: Option<String>,
    /// Seconds of measurement for each row
    #[arg(long, default_value_t = 3)]
    seconds: u64,
}

/// One row of the design's table of figures.
struct Row {
    work: &'static str,
    /// Criterion's `group/function`.
    id: &'static str,
    /// What one iteration does, to divide by.
    operations: f64,
    /// The stated figure, in nanoseconds an operation.
    stated: Option<f64>,
}

const fn row(work: &'static str, id: &'static str, operations: f64, stated: Option<f64>) -> Row {
    Row {
        work,
        id,
        operations,
        stated,
    }
}

/// The packages and bench targets that hold the rows.
const BENCHES: [(&str, &str); 2] = [("vmbus-core", "ring"), ("e2e-tests", "storage")];

const ROWS: [Row; 9] = [
    row(
        "ring: 64 B in-band, write+commit+read+commit",
        "ring/in_band_64",
        1.0,
        Some(38.0),
    ),
    row(
        "ring: the same, 16 committed together",
        "ring/in_band_64_batch_16",
        16.0,
        Some(24.0),
    ),
    row(
        "ring: 1.5 KiB packet, send + receive",
        "ring/in_band_1536",
        1.0,
        Some(81.0),
    ),
    row(
        "ring: GPA-direct, 64 B + 1 page",
        "ring/gpa_direct_1",
        1.0,
        Some(74.0),
    ),
    row(
        "ring: GPA-direct, 64 B + 64 pages",
        "ring/gpa_direct_64",
        1.0,
        Some(86.0),
    ),
    row(
        "storage: 4 KiB read, one thread, QD 1",
        "storage/read_4k_qd1",
        1.0,
        Some(1350.0),
    ),
    row(
        "storage: 4 KiB read, one thread, QD 16",
        "storage/read_4k_qd16",
        16.0,
        Some(670.0),
    ),
    row(
        "storage: 4 KiB read, two threads, QD 64",
        "storage/read_4k_two_threads_qd64",
        64.0,
        Some(3333.0),
    ),
    row(
        "storage: 4 KiB write, one thread, QD 16",
        "storage/write_4k_qd16",
        16.0,
        None,
    ),
];

/// Runs criterion, then reads its estimates and prints the table.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    for (package, bench) in BENCHES {
        say(&format!("measuring {package}: {bench}"));
        let mut command = cargo();
        command.args(["bench", "--quiet", "-p", package, "--bench", bench, "--"]);
        command.args([
            "--noplot",
            "--measurement-time",
            &options.seconds.to_string(),
        ]);
        if let Some(filter) = &options.filter {
            command.arg(filter);
        }
        check(&mut command)?;
    }
    let home = std::env::var_os("CRITERION_HOME")
        .map_or_else(|| run::target_dir().join("criterion"), PathBuf::from);
    println!(
        "\n{:<48} {:>10} {:>10}  verdict",
        "work (one operation)", "ours", "stated"
    );
    for row in &ROWS {
        let Some(nanoseconds) = median(&home, row.id) else {
            continue;
        };
        let ours = nanoseconds / row.operations;
        let stated = row
            .stated
            .map_or_else(|| "-".to_owned(), |stated| format!("{stated:.0} ns"));
        let verdict = match row.stated {
            Some(stated) if ours <= stated => "at or below",
            Some(_) => "ABOVE",
            None => "no peer figure",
        };
        println!(
            "{:<48} {:>10} {:>10}  {verdict}",
            row.work,
            format!("{ours:.1} ns"),
            stated
        );
    }
    instructions()
}

/// Criterion's median estimate, in nanoseconds an iteration.
fn median(home: &Path, id: &str) -> Option<f64> {
    let text = std::fs::read_to_string(home.join(id).join("new/estimates.json")).ok()?;
    let estimates: serde_json::Value = serde_json::from_str(&text).ok()?;
    estimates.get("median")?.get("point_estimate")?.as_f64()
}

/// Instruction counts of fixed amounts of the same work, where a counter is present.
fn instructions() -> Result<(), Error> {
    if !run::works("valgrind", &["--version"]) {
        println!("\ninstruction counts: valgrind is not installed");
        return Ok(());
    }
    say("counting instructions with valgrind");
    check(cargo().args([
        "build",
        "--release",
        "--quiet",
        "-p",
        "e2e-tests",
        "--example",
        "instruction_counts",
    ]))?;
    let program = run::target_dir().join("release/examples/instruction_counts");
    println!("\ninstructions per operation (callgrind, exact):");
    for work in [
        "in_band_64",
        "in_band_1536",
        "gpa_direct_64",
        "storage_read_4k",
    ] {
        let few = count(&program, work, 1_000)?;
        let many = count(&program, work, 11_000)?;
        println!("  {work:<20} {:>8.1}", (many - few) as f64 / 10_000.0);
    }
    Ok(())
}

/// Instructions that the program executes for `operations` operations, start-up included.
fn count(program: &Path, work: &str, operations: u64) -> Result<u64, Error> {
    let output = std::process::Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([work, &operations.to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text
        .lines()
        .find_map(|line| line.split("Collected :").nth(1));
    collected
        .and_then(|digits| digits.trim().parse().ok())
        .ok_or_else(|| Error::new(format!("valgrind printed no count for {work}: {text}")))
}
