//! Building the bare-metal guest.
use crate::run::Error;
use std::path::PathBuf;
/// Builds the guest image and returns its path.
pub(crate) fn build() -> Result<PathBuf, Error> {
    Err(Error::new("the guest image is not built yet"))
}
