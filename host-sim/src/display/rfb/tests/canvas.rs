//! A screen to paint on.

use std::sync::{Arc, Mutex};

use crate::display::damage::DamageLog;
use crate::display::rectangle::Rectangle;
use crate::display::screen::{Damage, NoPicture, PointerShape, Screen, ScreenState};

/// A screen in private memory.
pub(super) struct Canvas {
    state: Mutex<CanvasState>,
}

struct CanvasState {
    screen: ScreenState,
    damage: DamageLog,
    pixels: Vec<u32>,
    pointer: Option<Arc<PointerShape>>,
    viewers: i32,
}

impl Canvas {
    pub(super) fn new(width: u32, height: u32) -> Self {
        let canvas = Self {
            state: Mutex::new(CanvasState {
                screen: ScreenState {
                    reports_damage: true,
                    ..ScreenState::default()
                },
                damage: DamageLog::default(),
                pixels: Vec::new(),
                pointer: None,
                viewers: 0,
            }),
        };
        canvas.resize(width, height);
        canvas
    }

    pub(super) fn resize(&self, width: u32, height: u32) {
        let mut state = self.state.lock().unwrap();
        state.screen.size = Some((width, height));
        state.screen.picture_sequence += 1;
        state.pixels = vec![0; (width * height) as usize];
        state.damage.add(Rectangle::sized(width, height));
    }

    pub(super) fn paint(&self, rectangle: Rectangle, colour: impl Fn(u32, u32) -> u32) {
        let mut state = self.state.lock().unwrap();
        let width = state.screen.size.unwrap().0;
        for y in rectangle.top..rectangle.bottom {
            for x in rectangle.left..rectangle.right {
                state.pixels[(y * width + x) as usize] = colour(x, y);
            }
        }
        state.damage.add(rectangle);
    }

    pub(super) fn set_pointer(&self, shape: PointerShape) {
        let mut state = self.state.lock().unwrap();
        state.pointer = Some(Arc::new(shape));
        state.screen.pointer_sequence += 1;
    }

    pub(super) fn pixels(&self) -> Vec<u32> {
        self.state.lock().unwrap().pixels.clone()
    }
}

impl Screen for Canvas {
    fn state(&self) -> ScreenState {
        let state = self.state.lock().unwrap();
        ScreenState {
            damage_sequence: state.damage.sequence(),
            ..state.screen
        }
    }

    fn damage_since(&self, sequence: u64) -> Damage {
        let state = self.state.lock().unwrap();
        let (width, height) = state.screen.size.unwrap_or((1, 1));
        Damage {
            sequence: state.damage.sequence(),
            rectangles: state
                .damage
                .since(sequence)
                .unwrap_or_else(|| vec![Rectangle::sized(width, height)]),
        }
    }

    fn read(&self, rectangle: Rectangle, into: &mut Vec<u32>) -> Result<(), NoPicture> {
        into.clear();
        let state = self.state.lock().unwrap();
        let (width, height) = state.screen.size.ok_or(NoPicture)?;
        if !Rectangle::sized(width, height).contains(&rectangle) {
            return Err(NoPicture);
        }
        for y in rectangle.top..rectangle.bottom {
            let start = (y * width + rectangle.left) as usize;
            into.extend(&state.pixels[start..start + rectangle.width() as usize]);
        }
        Ok(())
    }

    fn pointer(&self) -> Option<Arc<PointerShape>> {
        self.state.lock().unwrap().pointer.clone()
    }

    fn attach(&self) {
        self.state.lock().unwrap().viewers += 1;
    }

    fn detach(&self) {
        self.state.lock().unwrap().viewers -= 1;
    }
}
