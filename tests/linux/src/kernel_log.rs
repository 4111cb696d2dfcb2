//! What a kernel says on its console when something is wrong.

/// Texts that a healthy kernel never prints.
const ALARMS: [&str; 15] = [
    "WARNING:",
    "BUG:",
    "Oops",
    "Call Trace:",
    "Kernel panic",
    "general protection fault",
    "unable to handle",
    "unchecked MSR access",
    "soft lockup",
    "hard LOCKUP",
    "detected stall",
    "blocked for more than",
    "segfault",
    "I/O error",
    "insmod: can't insert",
];

/// What the lines of Hyper-V drivers hold.
const DRIVERS: [&str; 5] = ["hv_", "hv-", "hyperv", "hyper-v", "vmbus"];

/// The lines that tell of trouble, but for those that hold one of `expected`.
#[must_use]
pub fn bad_lines(log: &str, expected: &[String]) -> Vec<String> {
    log.lines()
        .map(str::trim_end)
        .filter(|line| is_bad(line))
        .filter(|line| !expected.iter().any(|text| line.contains(text)))
        .map(str::to_owned)
        .collect()
}

fn is_bad(line: &str) -> bool {
    // The kernel echoes its own command line.
    if line.contains("ommand line:") {
        return false;
    }
    if ALARMS.iter().any(|alarm| line.contains(alarm)) {
        return true;
    }
    let line = line.to_ascii_lowercase();
    DRIVERS.iter().any(|driver| line.contains(driver)) && (line.contains("error") || fails(&line))
}

/// Whether a text speaks of failing. A `failover` device is none.
fn fails(line: &str) -> bool {
    line.match_indices("fail")
        .any(|(at, _)| !line[at..].starts_with("failover"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_and_driver_errors_are_found() {
        for line in [
            "[    1.0] WARNING: CPU: 0 PID: 1 at drivers/hv/ring_buffer.c:1 hv_x+0x1/0x2",
            "[    1.0] hv_storvsc 0: tag#1 cmd 0x28 status: scsi 0x2 srb 0x4 hv 0xc00000a1, Error",
            "[    1.0] hv_vmbus: probe failed for device 0",
            "[    1.0] Hyper-V: failed to set up",
            "[    1.0] rcu: INFO: rcu_sched self-detected stall on CPU",
            "[    1.0] BUG: unable to handle page fault",
        ] {
            assert_eq!(bad_lines(line, &[]), [line]);
        }
    }

    #[test]
    fn healthy_lines_are_passed_over() {
        for line in [
            "[    0.0] Command line: console=ttyS0 hv_x=error",
            "[    1.0] hv_netvsc 0: failover registered",
            "[    1.0] hv_vmbus: Vmbus version:5.3",
            "[    1.0] EXT4-fs (sda): mounted filesystem with ordered data mode. errors=continue",
        ] {
            assert_eq!(bad_lines(line, &[]), Vec::<String>::new());
        }
    }

    #[test]
    fn what_a_scenario_expects_is_no_trouble() {
        let log = "I/O error, dev sda\r\nI/O error, dev sdb\r\n";
        let bad = bad_lines(log, &["dev sda".to_owned()]);
        assert_eq!(bad, ["I/O error, dev sdb"]);
    }
}
