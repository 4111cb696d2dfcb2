//! Screen, keyboard and mouse.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::key::chord;
use super::{ControlError, ErrorKind, Machine, device, done, json};
use crate::control::request::{KeysRequest, MouseRequest};
use crate::display::png;
use crate::vsp::mouse::Button;

impl Machine {
    pub(super) fn screenshot(&self, path: &Path) -> Result<Value, ControlError> {
        let video = device(self.host.services.video.as_ref(), "screen")?;
        let image = video.snapshot()?;
        let write = || -> std::io::Result<()> {
            let bytes = png::encode(&image)?;
            std::fs::File::create(path)?.write_all(&bytes)
        };
        write().map_err(|error| {
            ControlError::new(
                ErrorKind::Failed,
                format!("cannot write '{}': {error}", path.display()),
            )
        })?;
        Ok(json!({"path": path, "width": image.width(), "height": image.height()}))
    }

    pub(super) fn keys(&self, request: &KeysRequest) -> Result<Value, ControlError> {
        let keyboard = device(self.host.services.keyboard.as_ref(), "keyboard")?;
        // All are looked up before the first is pressed.
        let chords = request.keys.iter().map(|text| chord(text));
        let chords: Vec<_> = chords
            .collect::<Result<_, _>>()
            .map_err(|word| ControlError::new(ErrorKind::Invalid, format!("no key '{word}'")))?;
        for keys in chords {
            keyboard.chord(&keys)?;
        }
        if !request.text.is_empty() {
            keyboard.type_text(&request.text)?;
        }
        Ok(done())
    }

    pub(super) fn mouse(&self, request: &MouseRequest) -> Result<Value, ControlError> {
        let mouse = device(self.host.services.mouse.as_ref(), "mouse")?;
        let now = mouse.status();
        if request.x.is_some() || request.y.is_some() {
            mouse.move_to(request.x.unwrap_or(now.x), request.y.unwrap_or(now.y))?;
        }
        if let Some(down) = &request.buttons {
            for button in Button::ALL {
                mouse.button(button, down.contains(&button))?;
            }
        }
        if request.wheel != 0 {
            mouse.wheel(request.wheel.into())?;
        }
        json(&mouse.status())
    }
}
