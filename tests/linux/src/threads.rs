//! What the threads of a process are doing: for the logs of a guest that does not answer.

use std::fmt::Write as _;
use std::path::Path;

/// One paragraph for each thread: its name, its state, the processor time that it took (in clock ticks, of itself and
/// of the kernel), the system call that it is in, and, for root, where in the kernel it is.
#[must_use]
pub fn describe(process: u32) -> String {
    let mut text = String::new();
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else {
        return text;
    };
    for thread in threads.flatten() {
        let read = |name: &str| read(&thread.path(), name);
        // The state and the times stand behind the name, which may hold anything: 1, 12 and 13 words after it.
        let stat = read("stat");
        if stat.is_empty() {
            // It has ended in the meantime.
            continue;
        }
        let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
        let word = |index: usize| behind.split_whitespace().nth(index).unwrap_or("?");
        let _ = writeln!(
            text,
            "thread {}: state {}, time {}+{}, system call {}",
            read("comm"),
            word(0),
            word(11),
            word(12),
            read("syscall")
        );
        for line in read("stack").lines().take(6) {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

fn read(folder: &Path, name: &str) -> String {
    let text = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_threads_are_described() {
        let described = std::thread::Builder::new()
            .name("observed".to_owned())
            .spawn(|| describe(std::process::id()));
        let text = described.unwrap().join().unwrap();
        assert!(text.contains("thread observed: state R"), "{text}");
        assert_eq!(describe(u32::MAX), "");
    }
}
