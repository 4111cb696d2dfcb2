//! What a scenario is.

use std::fmt;
use std::time::Duration;

use crate::context::Context;
use crate::plan::Plan;

/// Kernels of the flavour for virtual machines: small, with all Hyper-V drivers but `hyperv_drm`.
pub const CLOUD: &[&str] = &["6.1", "6.12"];

/// Something that a stock guest must be able to do.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name: that of its file, with hyphens.
    pub name: &'static str,
    /// What it shows, in a line.
    pub about: &'static str,
    /// The kernels it runs on.
    pub kernels: &'static [&'static str],
    /// The numbers of virtual processors it runs with.
    pub cpus: &'static [u32],
    /// The longest that it may take on a processor that nobody emulates; see [`Scenario::limit`].
    pub limit: Duration,
    /// Does it.
    pub run: fn(&mut Context) -> Result<(), Trouble>,
}

/// An emulated processor is so many times slower, on a machine that has other work too.
const SLOW_FACTOR: u32 = 6;

/// And takes so many times longer when it is not spared any data.
pub(crate) const WHOLE_FACTOR: u32 = 10;

impl Scenario {
    /// The longest that it may take.
    #[must_use]
    pub fn limit(&self, plan: &Plan) -> Duration {
        let slow = if plan.slow { SLOW_FACTOR } else { 1 };
        self.limit * slow * if plan.whole { WHOLE_FACTOR } else { 1 }
    }
}

/// Why a scenario did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Something is wrong.
    Failed(String),
    /// It cannot be tried here.
    Skipped(String),
}

impl Trouble {
    /// A failure.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::Failed(reason.into())
    }

    /// The same trouble, with what was being done in front.
    #[must_use]
    pub fn during(self, what: &str) -> Self {
        match self {
            Self::Failed(reason) => Self::Failed(format!("{what}: {reason}")),
            Self::Skipped(reason) => Self::Skipped(format!("{what}: {reason}")),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Failed(reason) | Self::Skipped(reason)) = self;
        f.write_str(reason)
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Fails with a text unless a condition holds.
///
/// # Errors
/// [`Trouble::Failed`] with the text.
pub fn ensure(condition: bool, otherwise: impl FnOnce() -> String) -> Result<(), Trouble> {
    if condition {
        Ok(())
    } else {
        Err(Trouble::Failed(otherwise()))
    }
}
