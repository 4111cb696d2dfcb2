//! Another page behind the same address, again and again: whoever reads there from another processor must see the new
//! page at once, however well its processor remembers the old one.
//!
//! busybox has no threads, so the runner itself goes into the guest and runs there as
//! `linux-guest-tests --remap ROUNDS`.

use std::ffi::OsString;
use std::io::Error;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use nix::unistd::Pid;

const PAGE: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// Puts new pages behind an address, so often, on processor 0, while processor 1 reads there. The words are the
/// program's arguments: how many.
///
/// # Errors
/// Other arguments, a page that is not the newest, or what the kernel refuses.
pub fn remap(words: &[OsString]) -> std::io::Result<()> {
    let rounds = match words {
        [rounds] => rounds.to_str().and_then(|text| text.parse().ok()),
        _ => None,
    };
    let rounds: u64 = rounds.ok_or_else(|| Error::other("how many rounds?"))?;
    let place = new_page(None)?;
    let address = place.as_ptr() as usize;
    // The round whose page is there, and the last one that was read.
    let (there, read) = (AtomicU64::new(0), AtomicU64::new(0));
    let stale = std::thread::scope(|scope| {
        let reader = scope.spawn(|| -> std::io::Result<u64> {
            stay_on(1)?;
            let mut stale = 0;
            for round in 1..=rounds {
                while there.load(Ordering::Acquire) != round {
                    std::hint::spin_loop();
                }
                // SAFETY: the page is mapped in this round, holds a whole number, and is not written meanwhile.
                let found = unsafe { (address as *const u64).read_volatile() };
                stale += u64::from(found != round);
                read.store(round, Ordering::Release);
            }
            Ok(stale)
        });
        let written = write(place, rounds, &there, &read, || reader.is_finished());
        let stale = reader
            .join()
            .unwrap_or_else(|_| Err(Error::other("the reader panicked")));
        written.and(stale)
    })?;
    // SAFETY: nobody reads there any more.
    unsafe { munmap(place.cast(), PAGE.get())? };
    if stale > 0 {
        return Err(Error::other(format!("{stale} of {rounds} pages were old")));
    }
    Ok(())
}

fn write(
    place: NonNull<u64>,
    rounds: u64,
    there: &AtomicU64,
    read: &AtomicU64,
    has_ended: impl Fn() -> bool,
) -> std::io::Result<()> {
    stay_on(0)?;
    for round in 1..=rounds {
        let page = new_page(Some(place))?;
        // SAFETY: the page was just mapped, and the reader waits for its round.
        unsafe { page.write_volatile(round) };
        there.store(round, Ordering::Release);
        while read.load(Ordering::Acquire) != round {
            if has_ended() {
                return Ok(());
            }
            std::hint::spin_loop();
        }
    }
    Ok(())
}

/// A new page, in place of what was at `place`, or anywhere.
fn new_page(place: Option<NonNull<u64>>) -> std::io::Result<NonNull<u64>> {
    let mut flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_POPULATE;
    flags.set(MapFlags::MAP_FIXED, place.is_some());
    let address = place.and_then(|place| NonZeroUsize::new(place.as_ptr() as usize));
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: what is replaced is a page of this module's own, of which no reference exists.
    let page = unsafe { mmap_anonymous(address, PAGE, access, flags)? };
    Ok(page.cast())
}

fn stay_on(processor: usize) -> std::io::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    sched_setaffinity(Pid::from_raw(0), &set)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_pages_are_seen() {
        if std::thread::available_parallelism().is_ok_and(|count| count.get() > 1) {
            remap(&["200".into()]).unwrap();
        }
        for words in [&[][..], &["many".into()], &["1".into(), "2".into()]] {
            assert!(remap(words).is_err());
        }
    }
}
