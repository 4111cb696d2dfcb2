//! Key strokes on their way to the guest: bounded, and no key ever sticks.

use std::collections::{BTreeSet, VecDeque};

use vsc_input::wire::keyboard::{KeyEvent, KeyFlags};

use crate::display::scancode::{Prefix, Scancode};

/// Most strokes of keys that wait.
pub(super) const MAX_KEYS: usize = 256;
/// Most strokes of text that wait.
pub(super) const MAX_TEXT: usize = 16_384;

#[derive(Clone, Copy, Debug)]
struct Entry {
    event: KeyEvent,
    is_text: bool,
}

/// The queue.
///
/// For each key that is down, as the guest sees or will see it, there is always room left for its release.
/// So what is dropped when the guest doesn't read is presses, and with them their releases.
#[derive(Debug, Default)]
pub(super) struct KeyQueue {
    entries: VecDeque<Entry>,
    /// Entries that are not text.
    keys: usize,
    held: BTreeSet<Scancode>,
}

impl KeyQueue {
    /// Presses or releases a key; `false` if the press found no room. The release of a key that isn't down,
    /// and so of one whose press was dropped, does nothing.
    pub(super) fn push(&mut self, key: Scancode, pressed: bool) -> bool {
        let strokes = strokes_of(key, pressed);
        if pressed {
            let reserved: usize = self
                .held
                .iter()
                .map(|key| strokes_of(*key, false).len())
                .sum();
            let own = if self.held.contains(&key) {
                0
            } else {
                strokes.len()
            };
            if self.keys + strokes.len() + reserved + own > MAX_KEYS {
                return false;
            }
            self.held.insert(key);
        } else if !self.held.remove(&key) {
            return true;
        }
        self.keys += strokes.len();
        let entries = strokes.into_iter().map(|event| Entry {
            event,
            is_text: false,
        });
        self.entries.extend(entries);
        true
    }

    /// Adds strokes of text; `false`, with nothing added, if they find no room.
    pub(super) fn push_text(&mut self, strokes: impl ExactSizeIterator<Item = KeyEvent>) -> bool {
        if self.entries.len() - self.keys + strokes.len() > MAX_TEXT {
            return false;
        }
        self.entries.extend(strokes.map(|event| Entry {
            event,
            is_text: true,
        }));
        true
    }

    /// Releases every key that is down.
    pub(super) fn release_all(&mut self) {
        for key in std::mem::take(&mut self.held) {
            self.held.insert(key);
            self.push(key, false);
        }
    }

    /// The oldest stroke.
    pub(super) fn pop(&mut self) -> Option<KeyEvent> {
        let entry = self.entries.pop_front()?;
        if !entry.is_text {
            self.keys -= 1;
        }
        Some(entry.event)
    }

    /// Strokes that wait.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Keys that are down.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Forgets everything: the guest has begun anew.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What the guest gets for a key.
pub(super) fn strokes_of(key: Scancode, pressed: bool) -> Vec<KeyEvent> {
    let release = if pressed {
        KeyFlags::empty()
    } else {
        KeyFlags::BREAK
    };
    let prefix = match key.prefix() {
        Prefix::None => KeyFlags::empty(),
        Prefix::E0 => KeyFlags::E0,
        Prefix::E1 => KeyFlags::E1,
    };
    let mut strokes = vec![KeyEvent {
        make_code: u16::from(key.code()),
        flags: prefix | release,
    }];
    if key == Scancode::PAUSE {
        // Its second half has no prefix.
        strokes.push(KeyEvent {
            make_code: 0x45,
            flags: release,
        });
    }
    strokes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(code: u8) -> Scancode {
        Scancode::new(code, Prefix::None).unwrap()
    }

    #[test]
    fn fault_68_a_storm_of_presses_drops_presses_and_never_a_release() {
        let mut queue = KeyQueue::default();
        let accepted: Vec<_> = (1..0x80)
            .filter(|code| queue.push(key(*code), true))
            .collect();
        assert_eq!(accepted.len(), 127);
        // Repeats use what isn't reserved.
        let mut repeats = 0;
        while queue.push(key(1), true) {
            repeats += 1;
        }
        assert_eq!(repeats, MAX_KEYS - 2 * 127);
        assert!(!queue.push(Scancode::PAUSE, true));
        for code in 1..0x80 {
            assert!(queue.push(key(code), false));
        }
        assert!(queue.push(Scancode::PAUSE, false), "its press was dropped");
        assert_eq!((queue.len(), queue.held()), (MAX_KEYS, 0));
    }

    proptest! {
        /// Whatever is pressed, dropped and read: at the end no key is down for the guest.
        #[test]
        fn no_key_sticks(steps in prop::collection::vec((1u8..0x80, any::<bool>(), 0u8..4), 0..900)) {
            let mut queue = KeyQueue::default();
            let mut down = BTreeSet::new();
            let mut see = |event: KeyEvent| {
                let id = (event.make_code, event.flags.contains(KeyFlags::E0));
                if event.flags.contains(KeyFlags::BREAK) {
                    down.remove(&id);
                } else {
                    down.insert(id);
                }
            };
            for (code, pressed, reads) in steps {
                let prefix = if code % 3 == 0 { Prefix::E0 } else { Prefix::None };
                let _ = queue.push(Scancode::new(code, prefix).unwrap(), pressed);
                prop_assert!(queue.len() <= MAX_KEYS);
                if reads == 0 {
                    queue.pop().into_iter().for_each(&mut see);
                }
            }
            queue.release_all();
            prop_assert!(queue.len() <= MAX_KEYS);
            prop_assert_eq!(queue.held(), 0);
            while let Some(event) = queue.pop() {
                see(event);
            }
            prop_assert!(down.is_empty());
        }
    }
}
