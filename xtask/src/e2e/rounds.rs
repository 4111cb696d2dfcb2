//! Jobs run to the last, however often everything stops in between.

use linux_guest_tests::plan::{Job, Outcome};

use super::attempt::{Attempt, Report};
use crate::run::Error;

/// How often the outer machine may fail to start, in a row.
const STARTS: u32 = 2;

/// Runs attempts until each job has its outcome. A job that fails is tried again, after all others, at most `tries`
/// times in all, and its report says so and why: an emulated processor (`is_emulated`) now and then hangs, or does what
/// none may. The last failure counts.
///
/// # Errors
/// Those of `attempt`, which could not even begin.
pub(crate) fn run(
    mut jobs: Vec<Job>,
    is_emulated: bool,
    tries: usize,
    attempt: &mut dyn FnMut(&[Job]) -> Result<Attempt, Error>,
) -> Result<Vec<Report>, Error> {
    let mut reports = Vec::new();
    let mut tried: Vec<(Job, String)> = Vec::new();
    let mut idle_starts = 0;
    while !jobs.is_empty() {
        let done = attempt(&jobs)?;
        let nothing = done.reports.is_empty() && done.interrupted.is_none();
        idle_starts = if nothing { idle_starts + 1 } else { 0 };
        let reason = done
            .stopped
            .unwrap_or_else(|| "the runner left jobs out".to_owned());
        let interrupted = done.interrupted.map(|job| failed(job, &reason));
        for mut report in done.reports.into_iter().chain(interrupted) {
            jobs.retain(|job| *job != report.job);
            let before = tried.iter().filter(|(job, _)| *job == report.job);
            let before: Vec<_> = before.map(|(_, reason)| reason.clone()).collect();
            if let Outcome::Failed(reason) = &report.outcome
                && before.len() + 1 < tries
            {
                tried.push((report.job.clone(), reason.clone()));
                jobs.push(report.job);
                continue;
            }
            let notes = before.iter().map(|reason| format!("tried again: {reason}"));
            report.notes.extend(notes);
            reports.push(report);
        }
        if idle_starts >= STARTS || (nothing && !is_emulated) {
            reports.extend(jobs.drain(..).map(|job| failed(job, &reason)));
        }
    }
    Ok(reports)
}

fn failed(job: Job, reason: &str) -> Report {
    Report {
        job,
        outcome: Outcome::Failed(format!("the whole run stopped: {reason}")),
        seconds: 0.0,
        notes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIES: usize = 3;

    fn job(name: &str) -> Job {
        Job {
            scenario: name.to_owned(),
            kernel: "6.1".to_owned(),
            cpus: 1,
        }
    }

    fn passed(name: &str) -> Report {
        Report {
            job: job(name),
            outcome: Outcome::Passed,
            seconds: 1.0,
            notes: Vec::new(),
        }
    }

    /// Plays attempts in their order and returns the reports, with how many attempts there were.
    fn play(names: &[&str], may_hang: bool, attempts: Vec<Attempt>) -> (Vec<Report>, usize) {
        let jobs = names.iter().map(|name| job(name)).collect();
        let mut attempts = attempts.into_iter();
        let mut count = 0;
        let reports = run(
            jobs,
            may_hang,
            if may_hang { TRIES } else { 1 },
            &mut |_| {
                count += 1;
                attempts.next().ok_or_else(|| Error::new("one too many"))
            },
        );
        (reports.unwrap(), count)
    }

    fn hang(reports: Vec<Report>, at: Option<&str>) -> Attempt {
        Attempt {
            reports,
            interrupted: at.map(job),
            stopped: Some("it hangs".to_owned()),
        }
    }

    fn whole(reports: Vec<Report>) -> Attempt {
        Attempt {
            reports,
            ..Attempt::default()
        }
    }

    #[test]
    fn a_hang_is_tried_again_and_told() {
        let attempts = vec![
            hang(vec![passed("a")], Some("b")),
            whole(vec![passed("b"), passed("c")]),
        ];
        let (reports, count) = play(&["a", "b", "c"], true, attempts);
        assert_eq!(count, 2);
        assert!(
            reports
                .iter()
                .all(|report| report.outcome == Outcome::Passed)
        );
        let again = reports.iter().find(|report| report.job == job("b"));
        let note = "tried again: the whole run stopped: it hangs";
        assert_eq!(again.unwrap().notes, [note]);
        assert_eq!(
            reports
                .iter()
                .filter(|report| !report.notes.is_empty())
                .count(),
            1
        );
    }

    fn refused(name: &str) -> Report {
        Report {
            outcome: Outcome::Failed("it says no".to_owned()),
            ..passed(name)
        }
    }

    #[test]
    fn a_failure_under_emulation_is_tried_again_and_told() {
        let attempts = vec![
            whole(vec![refused("a"), passed("b")]),
            whole(vec![passed("a")]),
        ];
        let (reports, count) = play(&["a", "b"], true, attempts);
        assert_eq!((reports.len(), count), (2, 2));
        assert_eq!(reports[1].notes, ["tried again: it says no"]);
        let attempts = (0..TRIES).map(|_| whole(vec![refused("a")])).collect();
        let (reports, count) = play(&["a"], true, attempts);
        assert!(matches!(reports[0].outcome, Outcome::Failed(_)));
        assert_eq!((reports[0].notes.len(), count), (TRIES - 1, TRIES));
        let (reports, count) = play(&["a"], false, vec![whole(vec![refused("a")])]);
        assert!(matches!(reports[0].outcome, Outcome::Failed(_)));
        assert_eq!(count, 1);
    }

    #[test]
    fn the_last_hang_of_a_job_is_a_failure_and_the_rest_goes_on() {
        let attempts = vec![
            hang(vec![], Some("a")),
            hang(vec![passed("b")], Some("a")),
            hang(vec![], Some("a")),
        ];
        let (reports, _) = play(&["a", "b"], true, attempts);
        assert_eq!(reports[0].outcome, Outcome::Passed);
        assert!(matches!(reports[1].outcome, Outcome::Failed(_)));
    }

    #[test]
    fn without_qemu_no_hang_is_forgiven() {
        let (reports, count) = play(&["a"], false, vec![hang(vec![], Some("a"))]);
        assert!(matches!(reports[0].outcome, Outcome::Failed(_)));
        assert_eq!(count, 1);
    }

    #[test]
    fn a_machine_that_never_starts_fails_all_jobs() {
        let attempts = vec![hang(vec![], None), hang(vec![], None)];
        let (reports, _) = play(&["a", "b"], true, attempts);
        assert_eq!(reports.len(), 2);
        let (reports, count) = play(&["a"], false, vec![hang(vec![], None)]);
        assert_eq!((reports.len(), count), (1, 1));
    }
}
