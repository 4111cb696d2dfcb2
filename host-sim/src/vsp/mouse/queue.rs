//! Reports on their way to the guest: bounded, and no button ever sticks.
//!
//! A report carries the state of all buttons, not their changes, so whatever is left out, the last one is true.

use std::collections::VecDeque;

use vsc_input::wire::hid::PointerReport;

/// Most reports that wait.
pub(super) const MAX_REPORTS: usize = 64;
/// Least time between two reports that only move, in 100 ns units: 8 ms, 125 a second.
pub(super) const MOTION_INTERVAL: u64 = 80_000;

/// The state of the pointer, and how far the wheel was turned since the report before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) x: u16,
    pub(super) y: u16,
    pub(super) buttons: u8,
    pub(super) wheel: i16,
}

#[derive(Debug, Default)]
pub(super) struct ReportQueue {
    waiting: VecDeque<Input>,
    /// What the guest knows, wheel apart.
    sent: Input,
    /// What it will know, wheel apart.
    current: Input,
    next_motion: u64,
}

impl ReportQueue {
    /// The newest state; its wheel is 0.
    pub(super) const fn current(&self) -> Input {
        self.current
    }

    /// Adds a new state. One that only moves replaces the one before it if that only moves as well, and so do
    /// turns of the wheel, whose notches add up. Without room the newest state replaces the one before it.
    pub(super) fn push(&mut self, input: Input) {
        self.current = Input { wheel: 0, ..input };
        let is_full = self.waiting.len() >= MAX_REPORTS;
        let before = match self.waiting.len() {
            0 => None,
            1 => Some(self.sent.buttons),
            count => self.waiting.get(count - 2).map(|input| input.buttons),
        };
        if let Some(last) = self.waiting.back_mut() {
            let is_motion = last.wheel == 0 && input.wheel == 0;
            let is_turn = last.wheel != 0 && input.wheel != 0;
            let same_buttons = last.buttons == input.buttons && before == Some(input.buttons);
            if is_full || (same_buttons && (is_motion || is_turn)) {
                *last = Input {
                    wheel: last.wheel.saturating_add(input.wheel),
                    ..input
                };
                return;
            }
        }
        self.waiting.push_back(input);
    }

    /// Whether the oldest report only moves the pointer.
    fn is_motion(&self) -> bool {
        self.waiting
            .front()
            .is_some_and(|next| next.wheel == 0 && next.buttons == self.sent.buttons)
    }

    /// The next report if one is due.
    pub(super) fn pop(&mut self, now: u64) -> Option<PointerReport> {
        if self.is_motion() && now < self.next_motion {
            return None;
        }
        let input = self.waiting.pop_front()?;
        self.sent = Input { wheel: 0, ..input };
        self.next_motion = now.saturating_add(MOTION_INTERVAL);
        Some(PointerReport {
            buttons: input.buttons,
            x: input.x.into(),
            y: input.y.into(),
            wheel: input.wheel.into(),
        })
    }

    /// When the next report is due; `None` if none waits.
    pub(super) fn due(&self) -> Option<u64> {
        let is_motion = self.is_motion();
        (!self.waiting.is_empty()).then_some(if is_motion { self.next_motion } else { 0 })
    }

    /// Forgets everything: the guest has begun anew.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn input(x: u16, buttons: u8, wheel: i16) -> Input {
        Input {
            x,
            y: 0,
            buttons,
            wheel,
        }
    }

    fn drain(queue: &mut ReportQueue) -> Vec<(u16, u8, i16)> {
        let mut now = 0;
        std::iter::from_fn(|| {
            now += MOTION_INTERVAL;
            let report = queue.pop(now)?;
            Some((report.x.get(), report.buttons, report.wheel.get()))
        })
        .collect()
    }

    #[test]
    fn moves_become_one_and_clicks_stay() {
        let mut queue = ReportQueue::default();
        for x in 1..9 {
            queue.push(input(x, 0, 0));
        }
        queue.push(input(8, 1, 0));
        queue.push(input(9, 1, 0));
        queue.push(input(10, 1, 0));
        queue.push(input(10, 0, 0));
        queue.push(input(10, 0, 1));
        queue.push(input(10, 0, 1));
        queue.push(input(11, 0, 0));
        assert_eq!(
            drain(&mut queue),
            [
                (8, 0, 0),
                (8, 1, 0),
                (10, 1, 0),
                (10, 0, 0),
                (10, 0, 2),
                (11, 0, 0)
            ]
        );
    }

    #[test]
    fn moves_are_paced_and_clicks_are_not() {
        let mut queue = ReportQueue::default();
        queue.push(input(1, 0, 0));
        assert!(queue.pop(5).is_some());
        queue.push(input(2, 0, 0));
        assert_eq!(queue.due(), Some(5 + MOTION_INTERVAL));
        assert!(queue.pop(6).is_none());
        queue.push(input(2, 4, 0));
        assert!(queue.pop(6).is_none(), "the order stays");
        assert!(queue.pop(5 + MOTION_INTERVAL).is_some());
        assert_eq!(queue.due(), Some(0));
        assert!(queue.pop(5 + MOTION_INTERVAL).is_some());
        assert_eq!(queue.due(), None);
    }

    proptest! {
        // MH4
        #[test]
        fn fault_69_the_last_state_always_arrives(
            steps in prop::collection::vec((any::<u16>(), 0u8..32, -3i16..4), 1..300),
        ) {
            let mut queue = ReportQueue::default();
            let mut wheel = 0;
            for (x, buttons, turn) in &steps {
                queue.push(input(*x, *buttons, *turn));
                wheel += turn;
                prop_assert!(queue.waiting.len() <= MAX_REPORTS);
            }
            let reports = drain(&mut queue);
            let last = reports.last().unwrap();
            let (x, buttons, _) = steps.last().unwrap();
            prop_assert_eq!((last.0, last.1), (*x, *buttons));
            prop_assert_eq!(reports.iter().map(|report| report.2).sum::<i16>(), wheel);
        }
    }
}
