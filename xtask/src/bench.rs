//! `cargo xtask bench`: our figures beside the stated ones, measured in one run on this machine.

mod boot;
mod instructions;
mod rows;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use crate::run::{self, Error, cargo, say};
use rows::{BENCHES, ROWS, Row};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only the rows whose benches have names that contain this; "boot" measures boots beside QEMU instead
    filter: Option<String>,
    /// Seconds of measurement for each row
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
}

/// Benches print the signals of their rows in lines with these words.
const SIGNALS: &str = " signals for ";

/// What is measured not by criterion but by booting.
const BOOT: &str = "boot";

/// Criterion's estimate of one row, in nanoseconds an operation.
#[derive(Clone, Copy)]
struct Figure {
    median: f64,
    /// The 95 % confidence interval of the median.
    low: f64,
    high: f64,
    /// The mean of the quickest sample: what other work on the machine has disturbed least.
    best: f64,
}

/// Runs criterion, then reads its estimates and prints the table.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    if options.filter.as_deref() == Some(BOOT) {
        return boot::run();
    }
    let begun = SystemTime::now();
    let mut signals = Vec::new();
    let mut busy = load();
    for (package, bench) in BENCHES {
        say(&format!("measuring {package}: {bench}"));
        let mut command = cargo();
        command.args(["bench", "--quiet", "-p", package, "--bench", bench, "--"]);
        let seconds = options.seconds.to_string();
        command.args([
            "--noplot",
            "--warm-up-time",
            "1",
            "--measurement-time",
            &seconds,
        ]);
        if let Some(filter) = &options.filter {
            command.arg(filter);
        }
        let shown = run::show(&mut command)?;
        shown.outcome?;
        signals.extend(
            shown
                .lines
                .into_iter()
                .filter(|line| line.contains(SIGNALS)),
        );
        busy = f64::max(busy, load());
    }
    print(begun);
    if !signals.is_empty() {
        println!("\nsignals, all of the rows' samples, counted exactly:");
        signals.iter().for_each(|line| println!("  {line}"));
    }
    instructions::print()?;
    println!(
        "\nStorage rows of one thread are its processor time, all others time that passes. \"best\" is the mean of the \
         quickest of 100 samples."
    );
    if options.filter.is_none() {
        println!("\nBoot time and memory beside QEMU: `cargo xtask bench {BOOT}`.");
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    if busy > 1.5 + processors as f64 {
        println!(
            "\nThe machine was busy with other work: a load of {busy:.1} on {processors} processors. \
             Times of two threads suffer most; instruction and signal counts do not."
        );
    }
    Ok(())
}

/// Prints the rows that have been measured since `begun`.
fn print(begun: SystemTime) {
    let home = std::env::var_os("CRITERION_HOME")
        .map_or_else(|| run::target_dir().join("criterion"), PathBuf::from);
    println!(
        "\n{:<46} {:>8} {:>8} {:>17} {:>7}  verdict",
        "one operation (nanoseconds)", "best", "median", "95 % interval", "stated"
    );
    for row in &ROWS {
        let Some(figure) = figure(&home, row, begun) else {
            continue;
        };
        let stated = row
            .stated
            .map_or_else(|| "-".to_owned(), |stated| format!("{stated:.0}"));
        println!(
            "{:<46} {:>8.1} {:>8.1} {:>17} {stated:>7}  {}",
            row.work,
            figure.best,
            figure.median,
            format!("{:.1} - {:.1}", figure.low, figure.high),
            verdict(&figure, row.stated)
        );
    }
}

/// What a figure means beside the stated one. Where the interval includes the stated figure, the run does not tell.
fn verdict(figure: &Figure, stated: Option<f64>) -> &'static str {
    match stated {
        None => "no figure stated",
        Some(stated) if figure.high <= stated => "at or below",
        Some(stated) if figure.low <= stated => "about the same",
        Some(stated) if figure.best <= stated => "ABOVE, at or below at best",
        Some(_) => "ABOVE",
    }
}

/// What criterion has found for a row since `begun`; earlier runs do not count.
fn figure(home: &Path, row: &Row, begun: SystemTime) -> Option<Figure> {
    let folder = home.join(row.id).join("new");
    let estimates = folder.join("estimates.json");
    if estimates.metadata().ok()?.modified().ok()? < begun {
        return None;
    }
    let estimates = json(&estimates)?;
    let sample = json(&folder.join("sample.json"))?;
    let column = |name: &str| Some(sample.get(name)?.as_array()?.iter().map(Value::as_f64));
    let means = column("times")?
        .zip(column("iters")?)
        .filter_map(|(time, iterations)| Some(time? / iterations?));
    let median = estimates.get("median")?;
    let interval = median.get("confidence_interval")?;
    let each = |value: &Value| Some(value.as_f64()? / row.operations);
    Some(Figure {
        median: each(median.get("point_estimate")?)?,
        low: each(interval.get("lower_bound")?)?,
        high: each(interval.get("upper_bound")?)?,
        best: means.reduce(f64::min)? / row.operations,
    })
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
}

/// Processes that were ready to run during the last minute, on average; 0 where the system does not say.
fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|load| load.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_the_interval() {
        let figure = Figure {
            median: 10.0,
            low: 9.0,
            high: 11.0,
            best: 8.0,
        };
        assert_eq!(verdict(&figure, None), "no figure stated");
        assert_eq!(verdict(&figure, Some(11.0)), "at or below");
        assert_eq!(verdict(&figure, Some(10.5)), "about the same");
        assert_eq!(verdict(&figure, Some(9.0)), "about the same");
        assert_eq!(verdict(&figure, Some(8.5)), "ABOVE, at or below at best");
        assert_eq!(verdict(&figure, Some(7.9)), "ABOVE");
    }

    #[test]
    fn estimates_of_this_run_are_read() {
        let home = tempfile::tempdir().unwrap();
        let row = &ROWS[1];
        let folder = home.path().join(row.id).join("new");
        std::fs::create_dir_all(&folder).unwrap();
        let begun = SystemTime::now();
        let estimates = r#"{"median":{"confidence_interval":{"lower_bound":16.0,"upper_bound":48.0},"point_estimate":32.0}}"#;
        std::fs::write(folder.join("estimates.json"), estimates).unwrap();
        let sample = r#"{"sampling_mode":"Linear","iters":[2.0,4.0],"times":[48.0,64.0]}"#;
        std::fs::write(folder.join("sample.json"), sample).unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        assert!(figure(home.path(), row, later).is_none());
        let figure = figure(home.path(), row, begun - std::time::Duration::from_secs(60)).unwrap();
        let all = (figure.best, figure.median, figure.low, figure.high);
        assert!(all == (1.0, 2.0, 1.0, 3.0));
    }
}
