//! `cargo xtask bench boot`: what a boot costs with `host-sim` and with QEMU.

use linux_guest_tests::boot_cost::{Boot, MEBIBYTES, Row};

use crate::e2e::boot_cost::{self, Measured};
use crate::run::Error;

/// Measures and prints the table.
///
/// # Errors
/// As for [`boot_cost::measure`].
pub(super) fn run() -> Result<(), Error> {
    print!("{}", text(&boot_cost::measure()?));
    Ok(())
}

fn text(measured: &Measured) -> String {
    let place = if measured.nested {
        "nested: in a machine whose processor QEMU emulates, so that times vary much and say little"
    } else {
        "direct: on this machine's KVM"
    };
    let cost = &measured.cost;
    let mut text = format!(
        "\nLinux {}, 1 processor, {MEBIBYTES} MiB, no disks; {place}\n",
        measured.release
    );
    if let Some(version) = &cost.qemu_version {
        text += &format!("{version}\n");
    }
    text += &format!(
        "\n{:<14} {:>6} {:>14} {:>12} {:>24}\n",
        "", "boots", "median (ms)", "best (ms)", "beyond guest RAM (KiB)"
    );
    for row in cost.rows.iter().filter(|row| !row.boots.is_empty()) {
        let times = sorted(row, |boot| boot.milliseconds);
        let memory = sorted(row, |boot| boot.beyond_kibibytes as f64);
        text += &format!(
            "{:<14} {:>6} {:>14.1} {:>12.1} {:>24.0}\n",
            row.monitor,
            row.boots.len(),
            median(&times),
            times[0],
            median(&memory)
        );
    }
    for row in &cost.rows {
        if let Some(trouble) = &row.trouble {
            let what = if row.boots.is_empty() {
                "not measured"
            } else {
                "a boot is missing"
            };
            text += &format!("{}: {what}: {trouble}\n", row.monitor);
        }
    }
    if let Some(reason) = &measured.without_qemu {
        text += &format!("QEMU: not measured: {reason}\n");
    }
    text += "\nTime: from the start of the process to init's first line on the console. Memory: the median of the \
             process's PSS just after it, guest RAM left out.\n";
    text
}

fn sorted(row: &Row, figure: impl Fn(&Boot) -> f64) -> Vec<f64> {
    let mut figures: Vec<_> = row.boots.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures
}

/// The middle of sorted figures, of which there is at least one.
fn median(sorted: &[f64]) -> f64 {
    let (low, high) = ((sorted.len() - 1) / 2, sorted.len() / 2);
    f64::midpoint(sorted[low], sorted[high])
}

#[cfg(test)]
mod tests {
    use linux_guest_tests::boot_cost::BootCost;

    use super::*;

    fn row(monitor: &str, boots: &[(f64, u64)], trouble: Option<&str>) -> Row {
        let boots = boots.iter().map(|&(milliseconds, beyond_kibibytes)| Boot {
            milliseconds,
            beyond_kibibytes,
        });
        Row {
            monitor: monitor.to_owned(),
            boots: boots.collect(),
            trouble: trouble.map(str::to_owned),
        }
    }

    #[test]
    fn rows_have_median_and_best_and_what_is_missing_is_told() {
        let measured = Measured {
            cost: BootCost {
                rows: vec![
                    row("host-sim", &[(300.0, 9), (100.0, 7), (140.0, 8)], None),
                    row("qemu pc", &[(20.0, 4), (10.0, 6)], Some("it hung")),
                    row("qemu microvm", &[], Some("no KVM")),
                ],
                qemu_version: Some("QEMU 7".to_owned()),
            },
            release: "6.1.0".to_owned(),
            nested: true,
            without_qemu: None,
        };
        let text = text(&measured);
        let words = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            let figures = line.strip_prefix(name).unwrap().split_whitespace();
            figures.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(words("host-sim"), ["3", "140.0", "100.0", "8"]);
        assert_eq!(words("qemu pc"), ["2", "15.0", "10.0", "5"]);
        assert!(text.contains("Linux 6.1.0") && text.contains("nested") && text.contains("QEMU 7"));
        assert!(text.contains("\nqemu pc: a boot is missing: it hung\n"));
        assert!(text.contains("\nqemu microvm: not measured: no KVM\n"));
    }

    #[test]
    fn without_qemu_there_is_no_row_but_a_reason() {
        let measured = Measured {
            cost: BootCost {
                rows: vec![row("host-sim", &[(100.0, 7)], None)],
                qemu_version: None,
            },
            release: "6.1.0".to_owned(),
            nested: false,
            without_qemu: Some("no network".to_owned()),
        };
        let text = text(&measured);
        assert!(text.contains("direct"));
        assert!(text.contains("\nQEMU: not measured: no network\n"));
        assert!(!text.contains("qemu"));
    }
}
