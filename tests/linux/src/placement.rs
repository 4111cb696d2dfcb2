//! Which of an emulated machine's processors guests run on.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The processor that QEMU's code takes for the only one that has a coprocessor.
const FIRST: usize = 0;

/// Keeps this thread, and all threads and processes that it will start, off the first processor, if there are others.
///
/// Whenever any processor loads the state of its coprocessor (FXRSTOR, with each change of a task), QEMU up to 11.1 at
/// least clears a bit among the first processor's flags (`cpu_clear_ignne`), from another thread and without an atomic
/// operation, although flags of virtualisation are in the same word. What the first processor changes there at the same
/// moment, at a VMRUN or #VMEXIT, is lost: it goes on with nested paging off in a guest or on in the host, or with all
/// interrupts off. A processor that never runs guests never changes that word.
///
/// # Errors
/// The system refuses.
pub fn spare_the_first_processor() -> nix::Result<()> {
    let this_thread = Pid::from_raw(0);
    let mut allowed = sched_getaffinity(this_thread)?;
    allowed.unset(FIRST)?;
    let others = (0..CpuSet::count()).any(|index| allowed.is_set(index).unwrap_or(false));
    if others {
        sched_setaffinity(this_thread, &allowed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_stay_off_the_first_processor_if_there_are_others() {
        let set = || sched_getaffinity(Pid::from_raw(0)).unwrap();
        let members = |set: CpuSet| -> Vec<_> {
            let count = 0..CpuSet::count();
            count.filter(|index| set.is_set(*index).unwrap()).collect()
        };
        // A thread of its own: others are to stay where they are.
        let test = std::thread::spawn(move || {
            let before = members(set());
            spare_the_first_processor().unwrap();
            let after = std::thread::spawn(move || members(set())).join().unwrap();
            if before == [FIRST] {
                assert_eq!(after, before);
            } else {
                assert!(!after.contains(&FIRST));
                assert!(after.iter().all(|index| before.contains(index)));
                assert!(after.len() + 1 >= before.len());
            }
            // Without the first, there is nothing to do.
            spare_the_first_processor().unwrap();
        });
        test.join().unwrap();
    }
}
