//! Back ends by name, as operators write them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use super::backend::{BackendError, NetworkBackend};
use super::pair::Pair;
use super::passt::Passt;
use super::peer::{PeerOptions, SmoltcpPeer};
use super::switch::SwitchPort;
use super::tap::Tap;

/// What an adapter is to be plugged into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendOption {
    /// `tap:NAME`: a TAP interface.
    Tap(String),
    /// `passt`, started as a child, or `passt:SOCKET`.
    Passt(Option<PathBuf>),
    /// `user`: the network in this process.
    User,
    /// `switch:PATH`: the switch that listens at this path, or else is started there.
    Switch(PathBuf),
    /// `none`: a cable that ends nowhere.
    None,
}

/// The text names no back end.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no network; there are tap:NAME, passt, passt:SOCKET, user, switch:PATH and none")]
pub struct UnknownBackend(String);

impl FromStr for BackendOption {
    type Err = UnknownBackend;

    fn from_str(text: &str) -> Result<Self, UnknownBackend> {
        let unknown = || UnknownBackend(text.chars().take(80).collect());
        let (kind, rest) = match text.split_once(':') {
            Some((_, "")) => return Err(unknown()),
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        match (kind, rest) {
            ("tap", Some(name)) => Ok(Self::Tap(name.to_owned())),
            ("passt", socket) => Ok(Self::Passt(socket.map(PathBuf::from))),
            ("user", None) => Ok(Self::User),
            ("switch", Some(path)) => Ok(Self::Switch(path.into())),
            ("none", None) => Ok(Self::None),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for BackendOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tap(name) => write!(f, "tap:{name}"),
            Self::Passt(None) => f.write_str("passt"),
            Self::Passt(Some(path)) => write!(f, "passt:{}", path.display()),
            Self::User => f.write_str("user"),
            Self::Switch(path) => write!(f, "switch:{}", path.display()),
            Self::None => f.write_str("none"),
        }
    }
}

impl BackendOption {
    /// Sets the back end up.
    ///
    /// # Errors
    /// [`BackendError`] says what is missing.
    pub fn open(&self) -> Result<Arc<dyn NetworkBackend>, BackendError> {
        Ok(match self {
            Self::Tap(name) => Arc::new(Tap::open(name)?),
            Self::Passt(None) => Arc::new(Passt::spawn()?),
            Self::Passt(Some(path)) => Arc::new(Passt::connect(path)?),
            Self::User => Arc::new(SmoltcpPeer::new(PeerOptions::default())?),
            Self::Switch(path) => Arc::new(SwitchPort::open(path)?),
            Self::None => {
                let pair = Pair::new(super::Capabilities::default());
                pair.set_up(false);
                pair
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_ends_have_names() {
        for text in [
            "tap:tap0",
            "passt",
            "passt:/run/passt.socket",
            "user",
            "switch:/tmp/a:b",
            "none",
        ] {
            assert_eq!(text.parse::<BackendOption>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "tap",
            "tap:",
            "user:1",
            "switch",
            "switch:",
            "none:",
            "bridge:br0",
            "passt:",
        ] {
            assert!(text.parse::<BackendOption>().is_err(), "{text}");
        }
    }
}
