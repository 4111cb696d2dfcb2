//! The PC's real-time clock and its battery-backed memory. A thread, started for the first guest that wants
//! interrupts, waits for the next.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Line;
use super::clock_registers::{Nanoseconds, Registers};

/// The host's clock may be set while somebody waits for it: longest until it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

fn host_time() -> Nanoseconds {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_nanos().try_into().unwrap_or(Nanoseconds::MAX),
        Err(_) => 0,
    }
}

struct State {
    registers: Registers,
    /// As the line is.
    is_raised: bool,
    /// What the thread waits for; none if for nothing in particular.
    awaited: Option<Nanoseconds>,
    thread: Option<JoinHandle<()>>,
    is_over: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    line: Box<dyn Line>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the line what the registers say. Under their lock, so that it ends up so.
    fn update_line(&self, state: &mut State) {
        let raised = state.registers.interrupts();
        if raised != state.is_raised {
            state.is_raised = raised;
            self.line.set(raised);
        }
    }

    /// The thread.
    fn serve(&self) {
        let mut state = self.lock();
        while !state.is_over {
            let now = host_time();
            state.registers.advance(now);
            self.update_line(&mut state);
            state.awaited = state.registers.next_interrupt();
            let wait = state.awaited.map_or(LOOK_AGAIN, |at| {
                let nanoseconds = at.saturating_sub(now).try_into().unwrap_or(0);
                LOOK_AGAIN.min(Duration::from_nanos(nanoseconds))
            });
            state = if state.awaited.is_none() {
                self.changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner)
            } else {
                self.changed
                    .wait_timeout(state, wait)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            };
        }
    }
}

/// The clock. Its time is the host's until the guest sets it.
pub(super) struct RealTimeClock(Arc<Shared>);

impl RealTimeClock {
    /// A clock that raises its interrupt on `line`.
    pub(super) fn new(line: Box<dyn Line>) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                registers: Registers::new(host_time()),
                is_raised: false,
                awaited: None,
                thread: None,
                is_over: false,
            }),
            changed: Condvar::new(),
            line,
        }))
    }

    /// The machine was reset: the time goes on, nothing interrupts.
    pub(super) fn reset(&self) {
        self.change(Registers::reset);
    }

    /// The guest reads the index (port 0) or data (1) port.
    pub(super) fn read(&self, port: u16) -> u8 {
        self.change(|registers| registers.read(port, host_time()))
    }

    /// The guest writes the index (port 0) or data (1) port.
    pub(super) fn write(&self, port: u16, value: u8) {
        self.change(|registers| registers.write(port, value, host_time()));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Registers) -> T) -> T {
        let shared = &self.0;
        let mut state = shared.lock();
        let result = change(&mut state.registers);
        shared.update_line(&mut state);
        let next = state.registers.next_interrupt();
        if next.is_some() && next != state.awaited {
            if state.thread.is_none() {
                state.thread = self.start();
            }
            shared.changed.notify_one();
        }
        result
    }

    fn start(&self) -> Option<JoinHandle<()>> {
        let shared = Arc::clone(&self.0);
        let thread = std::thread::Builder::new().name("real-time-clock".to_owned());
        match thread.spawn(move || shared.serve()) {
            Ok(thread) => Some(thread),
            Err(error) => {
                tracing::warn!(%error, "the real-time clock cannot interrupt");
                None
            }
        }
    }
}

impl Drop for RealTimeClock {
    fn drop(&mut self) {
        let thread = {
            let mut state = self.0.lock();
            state.is_over = true;
            state.thread.take()
        };
        self.0.changed.notify_one();
        if let Some(thread) = thread {
            // It cannot panic: the registers take any time.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    struct Told(Sender<bool>);

    impl Line for Told {
        fn set(&self, raised: bool) {
            let _ = self.0.send(raised);
        }
    }

    fn clock() -> (RealTimeClock, Receiver<bool>) {
        let (sender, receiver) = channel();
        (RealTimeClock::new(Box::new(Told(sender))), receiver)
    }

    fn set(clock: &RealTimeClock, index: u8, value: u8) {
        clock.write(0, index);
        clock.write(1, value);
    }

    fn get(clock: &RealTimeClock, index: u8) -> u8 {
        clock.write(0, index);
        clock.read(1)
    }

    #[test]
    fn no_thread_waits_for_what_nobody_wants() {
        let (clock, _) = clock();
        set(&clock, 0x0B, 0x02);
        assert!(clock.0.lock().thread.is_none());
    }

    #[test]
    fn interrupts_come_and_go_with_reading_their_reason() {
        let (clock, line) = clock();
        let patience = Duration::from_secs(60);
        // 128 Hz.
        set(&clock, 0x0A, 0x29);
        set(&clock, 0x0B, 0x42);
        for _ in 0..3 {
            assert_eq!(line.recv_timeout(patience), Ok(true));
            assert_eq!(get(&clock, 0x0C) & 0xC0, 0xC0);
            assert_eq!(line.recv_timeout(patience), Ok(false));
        }
        set(&clock, 0x0B, 0x12);
        // It may have interrupted once more before.
        while get(&clock, 0x0C) & 0x90 != 0x90 {
            line.recv_timeout(patience).unwrap();
        }
        clock.reset();
        drop(clock);
        assert!(!line.try_iter().last().unwrap_or(false));
    }
}
