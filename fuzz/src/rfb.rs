//! The VNC server's sessions against any bytes from a client.

use std::sync::{Arc, Mutex};

use host_sim::display::rectangle::Rectangle;
use host_sim::display::rfb::Session;
use host_sim::display::screen::{Damage, NoPicture, PointerShape, Screen, ScreenState};

use crate::input::Input;

/// Steps.
pub(crate) mod op {
    pub(crate) const BYTES: u8 = 0;
    pub(crate) const REFRESH: u8 = 1;
    pub(crate) const SENT: u8 = 2;
    pub(crate) const SCREEN: u8 = 3;
    pub(crate) const DAMAGE: u8 = 4;
    pub(crate) const COUNT: u8 = 5;
}

/// Sizes that the screen takes; one of them is none.
const SIZES: [Option<(u32, u32)>; 4] = [Some((64, 48)), Some((33, 17)), None, Some((1, 1))];

/// A screen whose pixels are their coordinates.
struct Pattern(Mutex<ScreenState>);

impl Screen for Pattern {
    fn state(&self) -> ScreenState {
        *self.0.lock().expect("nobody panics with it")
    }

    fn damage_since(&self, _sequence: u64) -> Damage {
        let state = self.state();
        let (width, height) = state.size.unwrap_or((0, 0));
        Damage {
            sequence: state.damage_sequence,
            rectangles: vec![Rectangle::sized(width, height / 2)],
        }
    }

    fn read(&self, rectangle: Rectangle, into: &mut Vec<u32>) -> Result<(), NoPicture> {
        into.clear();
        let (width, height) = self.state().size.ok_or(NoPicture)?;
        assert!(!rectangle.is_empty());
        if !Rectangle::sized(width, height).contains(&rectangle) {
            return Err(NoPicture);
        }
        for y in rectangle.top..rectangle.bottom {
            into.extend((rectangle.left..rectangle.right).map(|x| x / 9 * 0x0020_0400 + y / 7));
        }
        Ok(())
    }

    fn pointer(&self) -> Option<Arc<PointerShape>> {
        let width = self.state().pointer_sequence as u32 % 12;
        (width > 0).then(|| {
            Arc::new(PointerShape {
                width,
                height: 3,
                hot_x: 0,
                hot_y: 0,
                pixels: (0..width * 3).map(|at| at << 27).collect(),
            })
        })
    }

    fn attach(&self) {}

    fn detach(&self) {}
}

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let screen = Pattern(Mutex::new(ScreenState {
        size: SIZES[0],
        ..ScreenState::default()
    }));
    let mut session = Session::new("fuzz");
    while let Some(step) = input.step() {
        match step % op::COUNT {
            op::BYTES => {
                // As the server does it: nothing more is read while answers wait.
                let bytes = input.long_bytes();
                if session.output().is_empty() || !session.is_running() {
                    let size = session.size();
                    if let Err(error) = session.receive(bytes, &screen, |_| {}) {
                        assert!(!error.to_string().is_empty());
                        return;
                    }
                    assert!(session.size() == size || session.is_running());
                }
            }
            op::REFRESH => session.refresh(&screen),
            op::SENT => session.sent(usize::from(input.u16())),
            op::SCREEN => {
                let mut state = screen.0.lock().expect("nobody panics with it");
                state.size = input.choose(&SIZES);
                state.picture_sequence += 1;
                state.damage_sequence += 1;
                state.pointer_sequence = input.u8().into();
            }
            _ => {
                screen
                    .0
                    .lock()
                    .expect("nobody panics with it")
                    .damage_sequence += 1;
                let [left, top, right, bottom] = input.array::<4>().map(u32::from);
                session.add_damage(&[Rectangle::new(left, top, right, bottom)]);
            }
        }
        // The largest screen in 32 bits, and what a client may repeat.
        assert!(session.output().len() < 4 << 20);
    }
}
