//! What becomes of a write for which the host has no space.

use serde::Serialize;

/// What becomes of a write for which the host has no space. The image stays valid in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFull {
    /// It fails: the guest sees that space allocation failed.
    #[default]
    Fail,
    /// It waits until there is space: the guest sees it take long.
    Pause,
}

impl std::str::FromStr for OnFull {
    type Err = String;

    /// Reads `error` or `pause`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "error" => Ok(Self::Fail),
            "pause" => Ok(Self::Pause),
            _ => Err(format!("`{text}` is neither `error` nor `pause`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read() {
        assert_eq!("error".parse(), Ok(OnFull::Fail));
        assert_eq!("pause".parse(), Ok(OnFull::Pause));
        assert_eq!(
            "".parse::<OnFull>().unwrap_err(),
            "`` is neither `error` nor `pause`"
        );
    }
}
