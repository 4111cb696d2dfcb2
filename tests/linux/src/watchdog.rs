//! The end of everything that a job started, when its time is up or it is over.

use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Watches the processes of one job. When time is up it ends them all, so that whatever waits for them goes on.
pub struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    processes: Vec<Process>,
    over: bool,
    expired: bool,
}

/// A process that a job started.
pub type Process = Arc<Mutex<Child>>;

impl Watchdog {
    /// Begins to count.
    #[must_use]
    pub fn start(limit: Duration) -> Self {
        let shared = Arc::new(Shared::default());
        let watched = shared.clone();
        let deadline = Instant::now() + limit;
        let thread = std::thread::spawn(move || watched.wait(deadline));
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// Takes a process under watch. After the time is up it is ended at once.
    pub fn add(&self, child: Child) -> Process {
        let process = Arc::new(Mutex::new(child));
        let mut state = self.shared.lock();
        if state.expired {
            end(&process);
        }
        state.processes.push(process.clone());
        process
    }

    /// Whether the time was up before the job was over.
    #[must_use]
    pub fn expired(&self) -> bool {
        self.shared.lock().expired
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for process in &self.shared.lock().processes {
            end(process);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, deadline: Instant) {
        let mut state = self.lock();
        while !state.over {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                state.expired = true;
                state.processes.iter().for_each(end);
                return;
            };
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Ends a process and waits for it. One that has ended is left alone.
pub fn end(process: &Process) {
    let mut child = process.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").spawn().unwrap()
    }

    fn has_ended(process: &Process) -> bool {
        process.lock().unwrap().try_wait().unwrap().is_some()
    }

    #[test]
    fn processes_end_with_the_job() {
        let watchdog = Watchdog::start(Duration::from_secs(600));
        let process = watchdog.add(sleeper());
        assert!(!has_ended(&process));
        drop(watchdog);
        assert!(has_ended(&process));
    }

    #[test]
    fn processes_end_when_time_is_up_even_late_ones() {
        let watchdog = Watchdog::start(Duration::ZERO);
        let first = watchdog.add(sleeper());
        while !watchdog.expired() {
            std::thread::yield_now();
        }
        let second = watchdog.add(sleeper());
        assert!(has_ended(&second));
        drop(watchdog);
        assert!(has_ended(&first));
    }
}
