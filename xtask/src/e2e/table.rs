//! The results, for people and for programs.

use std::path::Path;

use linux_guest_tests::plan::Outcome;
use serde_json::json;

use super::attempt::Report;
use crate::run::Error;

/// Scenarios down, kernels and processors across.
pub(crate) fn text(reports: &[Report]) -> String {
    let mut columns: Vec<(String, u32)> = Vec::new();
    let mut rows: Vec<&str> = Vec::new();
    for report in reports {
        let column = (report.job.kernel.clone(), report.job.cpus);
        if !columns.contains(&column) {
            columns.push(column);
        }
        if !rows.contains(&report.job.scenario.as_str()) {
            rows.push(&report.job.scenario);
        }
    }
    columns.sort_by_key(|(kernel, cpus)| (version(kernel), kernel.clone(), *cpus));
    let heads: Vec<_> = columns
        .iter()
        .map(|(kernel, cpus)| format!("{kernel} ×{cpus}"))
        .collect();
    let width = rows.iter().map(|row| row.len()).max().unwrap_or(0).max(8);
    let mut text = format!("{:width$}", "scenario");
    for head in &heads {
        text += &format!("  {head:>9}");
    }
    text.push('\n');
    for row in rows {
        let mut line = format!("{row:width$}");
        for ((kernel, cpus), head) in columns.iter().zip(&heads) {
            let report = reports.iter().find(|report| {
                let job = &report.job;
                job.scenario == row && job.kernel == *kernel && job.cpus == *cpus
            });
            let cell = report.map_or_else(|| "-".to_owned(), cell);
            let width = head.chars().count().max(9);
            line += &format!("  {cell:>width$}");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn cell(report: &Report) -> String {
    match report.outcome {
        Outcome::Passed => format!("ok {:.0} s", report.seconds),
        Outcome::Failed(_) => "FAIL".to_owned(),
        Outcome::Skipped(_) => "skip".to_owned(),
    }
}

/// The numbers of a kernel's name, so that 6.12 comes behind 6.2.
fn version(kernel: &str) -> Vec<u32> {
    let numbers = kernel.split(|c: char| !c.is_ascii_digit());
    numbers.filter_map(|digits| digits.parse().ok()).collect()
}

/// Writes the results as JSON.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write_json(reports: &[Report], file: &Path) -> Result<(), Error> {
    let results: Vec<_> = reports
        .iter()
        .map(|report| {
            let (outcome, reason) = match &report.outcome {
                Outcome::Passed => ("passed", None),
                Outcome::Failed(reason) => ("failed", Some(reason)),
                Outcome::Skipped(reason) => ("skipped", Some(reason)),
            };
            json!({
                "scenario": report.job.scenario,
                "kernel": report.job.kernel,
                "cpus": report.job.cpus,
                "outcome": outcome,
                "reason": reason,
                "seconds": report.seconds,
                "notes": report.notes,
            })
        })
        .collect();
    let text = serde_json::to_string_pretty(&results);
    let text = text.map_err(|error| Error::new(error.to_string()))?;
    Ok(std::fs::write(file, text + "\n")?)
}

#[cfg(test)]
mod tests {
    use linux_guest_tests::plan::Job;

    use super::*;

    fn report(scenario: &str, kernel: &str, cpus: u32, outcome: Outcome) -> Report {
        Report {
            job: Job {
                scenario: scenario.to_owned(),
                kernel: kernel.to_owned(),
                cpus,
            },
            outcome,
            seconds: 2.4,
            notes: Vec::new(),
        }
    }

    #[test]
    fn every_report_has_its_cell() {
        let reports = [
            report("boot", "6.12", 1, Outcome::Passed),
            report("boot", "6.2", 2, Outcome::Failed("x".to_owned())),
            report("a-long-name", "6.2", 2, Outcome::Skipped("y".to_owned())),
        ];
        let table = text(&reports);
        let lines: Vec<Vec<_>> = table
            .lines()
            .map(|line| line.split("  ").filter(|word| !word.is_empty()).collect())
            .collect();
        let trimmed =
            |line: usize| -> Vec<&str> { lines[line].iter().map(|word| word.trim()).collect() };
        assert_eq!(trimmed(0), ["scenario", "6.2 ×2", "6.12 ×1"]);
        assert_eq!(trimmed(1), ["boot", "FAIL", "ok 2 s"]);
        assert_eq!(trimmed(2), ["a-long-name", "skip", "-"]);
    }
}
