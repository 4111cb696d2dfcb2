//! What a viewer needs of a guest: a screen to look at, a keyboard and a pointer.

use std::sync::Arc;

use thiserror::Error;

use super::rectangle::Rectangle;
use super::scancode::Scancode;

/// Where a screen is in its history. Numbers grow with every change and are compared for equality only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ScreenState {
    /// Width and height in pixels; `None` while the guest shows nothing.
    pub size: Option<(u32, u32)>,
    /// Changes with size, pixel format and place of the picture.
    pub picture_sequence: u64,
    /// Changes with the picture's contents, as far as the guest says so.
    pub damage_sequence: u64,
    /// Changes with the pointer's shape.
    pub pointer_sequence: u64,
    /// Whether the guest says what it changes. If not, a viewer has to compare.
    pub reports_damage: bool,
}

/// What has changed in a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// To be handed to [`Screen::damage_since`] the next time.
    pub sequence: u64,
    /// Where; within the screen.
    pub rectangles: Vec<Rectangle>,
}

/// There is nothing to see, or not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the guest shows no picture there")]
pub struct NoPicture;

/// A pointer that is not part of the picture: the viewer draws it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointerShape {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Column of the pixel that points.
    pub hot_x: u32,
    /// Row of the pixel that points.
    pub hot_y: u32,
    /// Pixels as `0xAARRGGBB`, row by row; `width * height` of them.
    pub pixels: Vec<u32>,
}

impl PointerShape {
    /// Whether nothing of it can be seen: what guests set that draw their pointer themselves.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        // A guest's "invisible" pointer is one pixel that is almost transparent.
        let most = if self.pixels.len() == 1 { 16 } else { 0 };
        self.pixels.iter().all(|pixel| pixel >> 24 <= most)
    }
}

/// A guest's screen.
pub trait Screen: Send + Sync {
    /// Where it is in its history. Cheap.
    fn state(&self) -> ScreenState;

    /// What has changed since a number that an earlier call gave; 0 for everything.
    fn damage_since(&self, sequence: u64) -> Damage;

    /// Replaces `into` by the pixels of a rectangle, row by row, as `0x00RRGGBB`. The guest may draw at the
    /// same moment.
    ///
    /// # Errors
    /// [`NoPicture`] if the rectangle is not wholly within the picture.
    fn read(&self, rectangle: Rectangle, into: &mut Vec<u32>) -> Result<(), NoPicture>;

    /// The pointer's shape; `None` if the guest never set one.
    fn pointer(&self) -> Option<Arc<PointerShape>>;

    /// A viewer begins to look: the guest is asked to report changes.
    fn attach(&self);

    /// A viewer goes away.
    fn detach(&self);
}

/// The guest takes no input now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InputRefused {
    /// The guest has not opened the device, or not negotiated with it.
    #[error("the guest has not opened the device")]
    NotReady,
    /// The guest doesn't read what was sent before.
    #[error("the guest does not read its input: the queue is full")]
    Full,
}

/// A guest's keyboard.
pub trait Keys: Send + Sync {
    /// Presses or releases a key.
    ///
    /// # Errors
    /// [`InputRefused`]; a release is never refused for want of room if the press was not.
    fn key(&self, key: Scancode, pressed: bool) -> Result<(), InputRefused>;
}

/// A guest's absolute pointer.
pub trait Pointing: Send + Sync {
    /// Moves the pointer, sets all buttons (bit 0 left, 1 right, 2 middle, 3 fourth, 4 fifth), and turns the
    /// wheel by notches away from the user. Coordinates are 0 to 32767 over the whole screen; larger ones
    /// mean the edge.
    ///
    /// # Errors
    /// [`InputRefused::NotReady`].
    fn point(&self, x: u16, y: u16, buttons: u8, wheel: i16) -> Result<(), InputRefused>;
}
