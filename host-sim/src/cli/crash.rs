//! What guests report of their crashes, for the operator. Guests may report without end.

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use host_sim::hv::{CrashMessage, CrashReport};
use host_sim::output::Standard;

/// Reports that are shown; a guest that is reset at each crash has a few.
const MOST_REPORTS: u32 = 16;
/// Lines of a report's message that are shown.
const MOST_LINES: usize = 64;

/// Prints reports, up to a limit.
#[derive(Debug, Default)]
pub(super) struct CrashPrinter {
    reports: AtomicU32,
}

impl CrashPrinter {
    /// Prints a report on standard error.
    pub(super) fn print(&self, report: &CrashReport) {
        // In one piece: others write there, too.
        let mut text = Vec::new();
        self.print_to(&mut text, report);
        let _ = Standard::Error.write_all(&text);
    }

    fn print_to(&self, out: &mut impl Write, report: &CrashReport) {
        // Saturates: the guest decides how many there are.
        let count = self
            .reports
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                count.checked_add(1)
            })
            .unwrap_or(u32::MAX);
        // Nobody may be there to read: that must not end the guest.
        let _ = match count {
            0..MOST_REPORTS => write_report(out, report),
            MOST_REPORTS => writeln!(out, "host-sim: further crashes of the guest are not shown"),
            _ => Ok(()),
        };
    }
}

fn write_report(out: &mut impl Write, report: &CrashReport) -> std::io::Result<()> {
    let [p0, p1, p2, p3, p4] = report.parameters;
    writeln!(
        out,
        "host-sim: the guest reports a crash on virtual processor {}: {p0:#x} {p1:#x} {p2:#x} {p3:#x} {p4:#x}",
        report.vp
    )?;
    match &report.message {
        None => Ok(()),
        Some(CrashMessage::Text(text)) => {
            let mut lines = text.lines();
            for line in lines.by_ref().take(MOST_LINES) {
                writeln!(out, "host-sim: crash: {line}")?;
            }
            match lines.count() {
                0 => Ok(()),
                more => writeln!(out, "host-sim: crash: and {more} lines more"),
            }
        }
        Some(CrashMessage::NotRam { address, length }) => writeln!(
            out,
            "host-sim: its message of {length} bytes at {address:#x} is not in the guest's memory"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypercall::crash::CrashControl;

    fn report(text: &str) -> CrashReport {
        CrashReport {
            vp: 1,
            guest_os_id: 0,
            parameters: [1, 2, 3, 4, 5],
            control: CrashControl::empty(),
            message: Some(CrashMessage::Text(text.to_owned())),
        }
    }

    #[test]
    fn a_report_is_shown_whole() {
        let mut out = Vec::new();
        CrashPrinter::default().print_to(&mut out, &report("first\nsecond"));
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("processor 1: 0x1 0x2 0x3 0x4 0x5\n"),
            "{text}"
        );
        assert!(
            text.ends_with("crash: first\nhost-sim: crash: second\n"),
            "{text}"
        );
    }

    #[test]
    fn a_guest_that_crashes_for_ever_fills_no_disk() {
        let printer = CrashPrinter::default();
        let mut out = Vec::new();
        for _ in 0..10_000 {
            printer.print_to(&mut out, &report(&"\n".repeat(4096)));
        }
        assert!(out.len() < 40_000, "{}", out.len());
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("and 4032 lines more"));
        assert!(text.ends_with("further crashes of the guest are not shown\n"));
    }

    #[test]
    fn nobody_need_be_there_to_read() {
        let mut nowhere: &mut [u8] = &mut [];
        CrashPrinter::default().print_to(&mut nowhere, &report("x"));
    }
}
