//! Pictures of the guest's screen, and the ways to look at them and to type into them.
//!
//! | Module | Holds |
//! |---|---|
//! | [`picture`] | pixels in the guest's formats, and images of them |
//! | [`png`] | images as PNG files |
//! | [`rectangle`], [`damage`] | which parts have changed |
//! | [`screen`] | what a viewer needs of a screen, a keyboard and a pointer |
//! | [`scancode`], [`keysym`] | keys by character and by name |
//! | [`rfb`] | a server for VNC clients |
//!
//! Nothing here knows of VMBus: the devices in [`vsp`](crate::vsp) implement the traits of [`screen`].

pub mod damage;
pub mod keysym;
pub mod picture;
pub mod png;
pub mod rectangle;
pub mod rfb;
pub mod scancode;
pub mod screen;
