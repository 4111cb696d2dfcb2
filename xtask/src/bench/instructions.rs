//! Instruction counts of fixed amounts of the measured work, where a counter is present.

use std::path::Path;
use std::process::Command;

use crate::run::{self, Error, cargo, check, say};

/// Works of the counting program, with what is to be known about their counts.
const WORKS: [(&str, &str); 5] = [
    ("in_band_64", ""),
    (
        "in_band_1536",
        "each byte of its two string moves counts as one",
    ),
    (
        "gpa_direct_64",
        "each byte of its two string moves counts as one",
    ),
    ("storage_read_4k", "the copy of 4 KiB included"),
    ("storage_write_4k", "the copy of 4 KiB included"),
];

/// Counts and prints the instructions of one operation of each work.
pub(super) fn print() -> Result<(), Error> {
    if !run::works("valgrind", &["--version"]) {
        println!("\ninstructions per operation: not counted, valgrind is not installed");
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
    println!(
        "\ninstructions per operation (callgrind; the difference of two runs, start-up excluded):"
    );
    for (work, remark) in WORKS {
        let few = count(&program, work, 1_000)?;
        let many = count(&program, work, 11_000)?;
        let each = many.saturating_sub(few) as f64 / 10_000.0;
        println!("  {work:<20} {each:>8.1}  {remark}");
    }
    Ok(())
}

/// Instructions that the program executes for `operations` operations, start-up included.
fn count(program: &Path, work: &str, operations: u64) -> Result<u64, Error> {
    let output = Command::new("valgrind")
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
