//! Building the bare-metal guest.

use std::path::PathBuf;

use crate::run::{Error, check, say};
use crate::toolchain::{self, BareMetal, TARGET};

const PACKAGE: &str = "guest-image";
const PROGRAM: &str = "viridian-guest";

/// Builds the guest image, with all that this needs, and returns its path.
pub(crate) fn build() -> Result<PathBuf, Error> {
    let bare_metal = toolchain::set_up()?;
    say(match bare_metal {
        BareMetal::Installed => "building the guest",
        BareMetal::FromSource => "building the guest, and the standard library for it",
    });
    check(bare_metal.cargo("build").args([
        "--release",
        "--quiet",
        "-p",
        PACKAGE,
        "--bin",
        PROGRAM,
    ]))?;
    let image = toolchain::target_dir()
        .join(TARGET)
        .join("release")
        .join(PROGRAM);
    if !image.is_file() {
        return Err(Error::new(format!(
            "the build made no image at {}",
            image.display()
        )));
    }
    Ok(image)
}
