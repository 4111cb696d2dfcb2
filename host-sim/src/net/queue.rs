//! Bounded queues of frames between threads.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::backend::BackendWaker;
use super::frame::Frame;
use super::{QUEUE_BYTES, QUEUE_FRAMES};

/// A queue that takes up to [`QUEUE_FRAMES`] frames and [`QUEUE_BYTES`] bytes.
#[derive(Debug, Default)]
pub struct FrameQueue {
    state: Mutex<State>,
    /// Something was taken, or the queue was closed.
    room: Condvar,
    /// Something was put in, or the queue was closed.
    filled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    is_closed: bool,
    waker: Option<BackendWaker>,
    /// Frames were put in that nobody was woken for.
    is_quiet: bool,
    dropped: u64,
}

impl State {
    fn has_room(&self, frame: &Frame) -> bool {
        self.frames.len() < QUEUE_FRAMES
            && (self.frames.is_empty() || self.bytes + frame.bytes.len() <= QUEUE_BYTES)
    }

    /// Whether a frame may be put in now; one that may not is counted.
    fn admits(&mut self, frame: &Frame) -> bool {
        let is_admitted = !self.is_closed && self.has_room(frame);
        self.dropped += u64::from(!is_admitted);
        is_admitted
    }

    /// Puts a frame in; returns who is to be woken.
    fn put(&mut self, frame: Frame) -> Option<BackendWaker> {
        self.bytes += frame.bytes.len();
        self.frames.push_back(frame);
        (self.frames.len() == 1)
            .then(|| self.waker.clone())
            .flatten()
    }

    fn take(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.bytes.len();
        Some(frame)
    }
}

impl FrameQueue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a frame in and wakes who is to be woken.
    fn put(&self, mut state: MutexGuard<'_, State>, frame: Frame) {
        let waker = state.put(frame);
        drop(state);
        self.wake_reader(waker);
    }

    fn wake_reader(&self, waker: Option<BackendWaker>) {
        self.filled.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Puts a frame in; `false` if there is no room for it, or the queue is closed. A frame refused is counted.
    pub fn push(&self, frame: Frame) -> bool {
        let mut state = self.lock();
        if !state.admits(&frame) {
            return false;
        }
        self.put(state, frame);
        true
    }

    /// The same without waking anybody: [`FrameQueue::announce`] does so for all frames that came since. For those who
    /// make many at once: a reader that wakes for each spends its time waking up.
    pub fn push_quietly(&self, frame: Frame) -> bool {
        let mut state = self.lock();
        if !state.admits(&frame) {
            return false;
        }
        let _ = state.put(frame);
        state.is_quiet = true;
        true
    }

    /// Wakes who is to be woken for frames that were put in quietly, if any wait still.
    pub fn announce(&self) {
        let mut state = self.lock();
        if !std::mem::take(&mut state.is_quiet) || state.frames.is_empty() {
            return;
        }
        let waker = state.waker.clone();
        drop(state);
        self.wake_reader(waker);
    }

    /// Puts a frame in once there is room; `false` if the queue is closed.
    pub fn push_waiting(&self, frame: Frame) -> bool {
        let mut state = self.lock();
        while !state.is_closed && !state.has_room(&frame) {
            state = self
                .room
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_closed {
            return false;
        }
        self.put(state, frame);
        true
    }

    /// Takes the oldest frame.
    pub fn pop(&self) -> Option<Frame> {
        let frame = self.lock().take()?;
        self.room.notify_one();
        Some(frame)
    }

    /// Takes the oldest frame once there is one; `None` if the queue is closed.
    pub fn pop_waiting(&self) -> Option<Frame> {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(frame) = state.take() {
                drop(state);
                self.room.notify_one();
                return Some(frame);
            }
            state = self
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Frames that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().frames.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Frames that found no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Replaces who is woken when a frame comes after none.
    pub fn set_waker(&self, waker: Option<BackendWaker>) {
        self.lock().waker = waker;
    }

    /// Wakes whoever is to be woken, for another reason than a frame.
    pub fn wake(&self) {
        let waker = self.lock().waker.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Forgets all frames.
    pub fn clear(&self) {
        let mut state = self.lock();
        state.frames.clear();
        state.bytes = 0;
        drop(state);
        self.room.notify_all();
    }

    /// Ends all waiting; nothing is put in any more.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.room.notify_all();
        self.filled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn frames_and_bytes_are_bounded() {
        let queue = FrameQueue::default();
        for _ in 0..QUEUE_FRAMES {
            assert!(queue.push(Frame::new([0; 60])));
        }
        assert!(!queue.push(Frame::new([0; 60])));
        assert_eq!((queue.len(), queue.dropped()), (QUEUE_FRAMES, 1));
        queue.clear();
        let mut taken = 0;
        while queue.push(Frame::new(vec![0; 65000])) {
            taken += 1;
        }
        assert_eq!(taken, QUEUE_BYTES / 65000);
        queue.close();
        queue.clear();
        assert!(!queue.push(Frame::new([0; 60])) && !queue.push_waiting(Frame::default()));
        assert!(queue.pop_waiting().is_none());
    }

    #[test]
    fn frames_put_in_quietly_are_announced_together() {
        let queue = FrameQueue::default();
        let woken = Arc::new(AtomicUsize::new(0));
        let wake = Arc::clone(&woken);
        queue.set_waker(Some(BackendWaker::new(move || {
            wake.fetch_add(1, Ordering::Relaxed);
        })));
        let woken = || woken.load(Ordering::Relaxed);
        queue.announce();
        for _ in 0..3 {
            assert!(queue.push_quietly(Frame::new([0; 60])));
        }
        assert_eq!((woken(), queue.len()), (0, 3));
        queue.announce();
        queue.announce();
        assert_eq!(woken(), 1);
        // One who has not slept meanwhile has taken them all.
        queue.clear();
        assert!(queue.push_quietly(Frame::new([0; 60])));
        assert!(queue.pop().is_some());
        queue.announce();
        assert_eq!(woken(), 1);
        queue.close();
        assert!(!queue.push_quietly(Frame::new([0; 60])));
        assert_eq!(queue.dropped(), 1);
    }

    #[test]
    fn a_waiting_sender_gets_its_turn() {
        let queue = Arc::new(FrameQueue::default());
        let woken = Arc::new(AtomicUsize::new(0));
        let wake = Arc::clone(&woken);
        queue.set_waker(Some(BackendWaker::new(move || {
            wake.fetch_add(1, Ordering::Relaxed);
        })));
        let sender = Arc::clone(&queue);
        let thread = std::thread::spawn(move || {
            for number in 0..3000u32 {
                assert!(sender.push_waiting(Frame::new(number.to_be_bytes())));
            }
        });
        for number in 0..3000u32 {
            let frame = queue.pop_waiting().unwrap();
            assert_eq!(frame.bytes, number.to_be_bytes());
        }
        thread.join().unwrap();
        assert!(woken.load(Ordering::Relaxed) >= 1);
    }
}
