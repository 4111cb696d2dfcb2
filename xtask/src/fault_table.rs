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
        let Some(name) = passed_test(line) else {
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

    /// Takes a test out again: it only passed because it left out all it had to do.
    pub(crate) fn forget(&mut self, name: &str) {
        self.tests.retain(|_, tests| {
            tests.retain(|test| test != name);
            !tests.is_empty()
        });
    }

    /// The tests that cover a case.
    #[cfg(test)]
    pub(crate) fn covering(&self, case: u32) -> &[String] {
        self.tests.get(&case).map_or(&[], Vec::as_slice)
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

/// The name of the test that a line of test output says has passed.
pub(crate) fn passed_test(line: &str) -> Option<&str> {
    line.trim().strip_prefix("test ")?.strip_suffix(" ... ok")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_did_not_run_covers_nothing() {
        let mut table = FaultTable::default();
        for line in [
            "test fault_89_on_kvm ... ok",
            "test fault_89_and_90 ... ok",
            "test fault_90_on_kvm ... ok",
        ] {
            table.note(line);
        }
        table.forget("fault_89_on_kvm");
        table.forget("fault_90_on_kvm");
        assert_eq!(
            table.tests,
            BTreeMap::from([(89, vec!["fault_89_and_90".to_owned()])])
        );
    }

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
