//! Targets and the standard library's source.
use crate::run::Error;
/// Builds the embeddable crates for the bare-metal target.
pub(crate) fn check_embeddable_crates() -> Result<(), Error> {
    Ok(())
}
