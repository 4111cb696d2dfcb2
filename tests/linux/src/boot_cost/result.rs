//! What was measured, as it goes from the runner to who prints it.

use serde::{Deserialize, Serialize};

/// Marks the note that has the result.
const MARK: &str = "boot cost ";

/// One boot.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Boot {
    /// From the start of the process until init's line is on the console.
    pub milliseconds: f64,
    /// Memory of the process beyond guest RAM in KiB, just after the line.
    pub beyond_kibibytes: u64,
}

/// The boots with one program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The program, with its machine.
    pub monitor: String,
    /// Boots that reached init.
    pub boots: Vec<Boot>,
    /// Why one did not, the last one's reason.
    pub trouble: Option<String>,
}

/// All that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BootCost {
    /// A row for each program.
    pub rows: Vec<Row>,
    /// What QEMU calls its version, where there is one that starts.
    pub qemu_version: Option<String>,
}

impl BootCost {
    /// The result as a note.
    ///
    /// # Panics
    /// Never: it holds nothing that JSON cannot.
    #[must_use]
    pub fn note(&self) -> String {
        let json = serde_json::to_string(self).expect("a result is plain data");
        format!("{MARK}{json}")
    }

    /// The result that a note tells, if it tells one.
    #[must_use]
    pub fn from_note(note: &str) -> Option<Self> {
        serde_json::from_str(note.strip_prefix(MARK)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_survive_a_note() {
        let cost = BootCost {
            rows: vec![Row {
                monitor: "host-sim".to_owned(),
                boots: vec![Boot {
                    milliseconds: 123.25,
                    beyond_kibibytes: 4096,
                }],
                trouble: Some("it \"fell\"\nover".to_owned()),
            }],
            qemu_version: None,
        };
        let note = cost.note();
        assert_eq!(note.lines().count(), 1);
        assert_eq!(BootCost::from_note(&note), Some(cost));
        assert_eq!(BootCost::from_note("boot cost {"), None);
        assert_eq!(BootCost::from_note("tried again: it hangs"), None);
    }
}
