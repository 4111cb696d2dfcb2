//! Virtual processors that stay on one of the machine's.

use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::KvmError;

/// The calling thread.
const THIS: Pid = Pid::from_raw(0);

/// Whether this process may run on a processor of the machine.
///
/// # Errors
/// [`KvmError::NoSuchProcessor`] if it may not, or there is none of that number.
pub(super) fn check(processor: usize) -> Result<(), KvmError> {
    let refuse = |source: io::Error| KvmError::NoSuchProcessor { processor, source };
    let allowed = sched_getaffinity(THIS).map_err(|errno| refuse(errno.into()))?;
    match allowed.is_set(processor) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refuse(io::ErrorKind::NotFound.into())),
        Err(errno) => Err(refuse(errno.into())),
    }
}

/// Keeps the calling thread on a processor.
///
/// # Errors
/// The system's answer.
pub(super) fn stay_on(processor: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    Ok(sched_setaffinity(THIS, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_where_it_is_told_to() {
        std::thread::spawn(|| {
            let allowed = sched_getaffinity(THIS).unwrap();
            let some = (0..CpuSet::count()).rfind(|&n| allowed.is_set(n) == Ok(true));
            let some = some.unwrap();
            check(some).unwrap();
            stay_on(some).unwrap();
            let now = sched_getaffinity(THIS).unwrap();
            let left = (0..CpuSet::count()).filter(|&n| now.is_set(n) == Ok(true));
            assert_eq!(left.collect::<Vec<_>>(), [some]);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn processors_that_are_not_there_are_refused() {
        for processor in [CpuSet::count() - 1, CpuSet::count(), usize::MAX] {
            let error = check(processor).unwrap_err();
            assert!(
                error.to_string().contains(&processor.to_string()),
                "{error}"
            );
        }
    }
}
