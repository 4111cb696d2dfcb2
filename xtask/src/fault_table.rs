//! Which of the catalogued faults and attacks are covered by tests that ran.

use std::collections::BTreeMap;

/// Cases in the catalogue (`docs/faults.md`).
const CASES: u32 = 90;

/// The tests that ran and passed, by the number of the case that their name carries.
#[derive(Default)]
pub(crate) struct FaultTable {
    tests: BTreeMap<u32, Vec<String>>,
}

impl FaultTable {
    /// Takes note of one line of test output.
    ///
    /// A test of case N is named `fault_NN_what`, or `fault_NN_to_MM_what` for a sweep over several cases.
    pub(crate) fn note(&mut self, line: &str) {
        let Some(name) = line
            .trim()
            .strip_prefix("test ")
            .and_then(|line| line.strip_suffix(" ... ok"))
        else {
            return;
        };
        let Some(start) = name.find("fault_") else {
            return;
        };
        let mut words = name
            .get(start + "fault_".len()..)
            .unwrap_or_default()
            .split('_');
        let Some(first) = words.next().and_then(|word| word.parse::<u32>().ok()) else {
            return;
        };
        let last = match (
            words.next(),
            words.next().and_then(|word| word.parse::<u32>().ok()),
        ) {
            (Some("to"), Some(last)) => last,
            _ => first,
        };
        for case in first..=last.min(CASES) {
            self.tests.entry(case).or_default().push(name.to_owned());
        }
    }

    /// Prints case → tests and the sum.
    pub(crate) fn print(&self) {
        println!("\nfault cases covered by tests that ran:");
        for (case, tests) in &self.tests {
            println!("  {case:>2}  {}", tests.join(", "));
        }
        let covered = self
            .tests
            .keys()
            .filter(|case| (1..=CASES).contains(*case))
            .count();
        println!("faults: {covered} of {CASES} covered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_numbers() {
        let mut table = FaultTable::default();
        table.note("test ring::tests::fault_05_length_beyond_available ... ok");
        table.note("test fault_42_to_44_hypercalls ... ok");
        table.note("test fault_07_failed ... FAILED");
        table.note("test no_default_is_assumed ... ok");
        assert_eq!(
            table.tests.keys().copied().collect::<Vec<_>>(),
            [5, 42, 43, 44]
        );
    }
}
