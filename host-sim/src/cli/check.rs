//! `host-sim check`: is this VHD sound?

use std::path::Path;

use host_sim::disk::check_path;

use super::Error;

pub(crate) fn run(image: &Path) -> Result<(), Error> {
    let report = check_path(image).map_err(Error::failed)?;
    say!("{report}");
    if report.is_usable() {
        Ok(())
    } else {
        Err(Error::failed(format!("'{}' is damaged", image.display())))
    }
}
