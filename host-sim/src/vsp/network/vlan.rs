//! Which VLAN tags pass between a guest and the network.

use thiserror::Error;

/// How an adapter's port of the network treats VLAN tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VlanMode {
    /// Tags pass as they are.
    #[default]
    Transparent,
    /// The guest is in one VLAN and sees no tags.
    Access(u16),
    /// The guest sees the tags of the VLANs listed; frames without a tag are in the native one.
    Trunk {
        /// The VLANs whose tags pass.
        allowed: Vec<u16>,
        /// VLAN of the guest's frames without a tag; 0 for none.
        native: u16,
    },
}

/// The number is no VLAN's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0} is no VLAN: they are 1 to 4094")]
pub struct InvalidVlan(pub u16);

/// A frame does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocked;

const ID: u16 = 0xFFF;

impl VlanMode {
    /// Whether its numbers are VLANs.
    pub(super) fn check(&self) -> Result<(), InvalidVlan> {
        let check = |id: u16| {
            if (1..=4094).contains(&id) {
                Ok(())
            } else {
                Err(InvalidVlan(id))
            }
        };
        match self {
            Self::Transparent => Ok(()),
            Self::Access(id) => check(*id),
            Self::Trunk { allowed, native } => {
                if *native != 0 {
                    check(*native)?;
                }
                allowed.iter().try_for_each(|id| check(*id))
            }
        }
    }

    /// The tag towards the network of a frame that the guest sends with this one.
    pub(super) fn outgoing(&self, tag: Option<u16>) -> Result<Option<u16>, Blocked> {
        match (self, tag) {
            (Self::Transparent, tag) => Ok(tag),
            (Self::Access(id), None) => Ok(Some(*id)),
            // A priority without a VLAN is kept.
            (Self::Access(id), Some(tci)) if tci & ID == 0 => Ok(Some(tci | id)),
            (Self::Access(_), Some(_)) => Err(Blocked),
            (Self::Trunk { native, .. }, None) => Ok((*native != 0).then_some(*native)),
            (Self::Trunk { native, .. }, Some(tci)) if tci & ID == 0 => Ok(Some(tci | native)),
            (Self::Trunk { allowed, .. }, Some(tci)) if allowed.contains(&(tci & ID)) => {
                Ok(Some(tci))
            }
            (Self::Trunk { .. }, Some(_)) => Err(Blocked),
        }
    }

    /// The tag towards the guest of a frame that comes from the network with this one.
    pub(super) fn incoming(&self, tag: Option<u16>) -> Result<Option<u16>, Blocked> {
        match (self, tag) {
            (Self::Transparent, tag) => Ok(tag),
            (Self::Access(id), Some(tci)) if tci & ID == *id => Ok(None),
            (Self::Access(_), _) => Err(Blocked),
            (Self::Trunk { native: 0, .. }, None) => Ok(None),
            (Self::Trunk { native, .. }, Some(tci)) if *native != 0 && tci & ID == *native => {
                Ok(None)
            }
            (Self::Trunk { allowed, .. }, Some(tci)) if allowed.contains(&(tci & ID)) => {
                Ok(Some(tci))
            }
            (Self::Trunk { .. }, _) => Err(Blocked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_pass_by_mode() {
        let access = VlanMode::Access(7);
        assert_eq!(access.outgoing(None), Ok(Some(7)));
        assert_eq!(access.outgoing(Some(0xA000)), Ok(Some(0xA007)));
        assert_eq!(access.outgoing(Some(7)), Err(Blocked));
        assert_eq!(access.incoming(Some(0x6007)), Ok(None));
        assert_eq!(access.incoming(Some(8)), Err(Blocked));
        assert_eq!(access.incoming(None), Err(Blocked));
        let trunk = VlanMode::Trunk {
            allowed: vec![10, 11],
            native: 5,
        };
        assert_eq!(trunk.outgoing(None), Ok(Some(5)));
        assert_eq!(trunk.outgoing(Some(0x200A)), Ok(Some(0x200A)));
        assert_eq!(trunk.outgoing(Some(12)), Err(Blocked));
        assert_eq!(trunk.incoming(Some(5)), Ok(None));
        assert_eq!(trunk.incoming(Some(11)), Ok(Some(11)));
        assert_eq!(trunk.incoming(None), Err(Blocked));
        assert_eq!(VlanMode::Transparent.incoming(Some(9)), Ok(Some(9)));
        for id in [0, 4095, 4096] {
            assert_eq!(VlanMode::Access(id).check(), Err(InvalidVlan(id)));
        }
        assert_eq!(trunk.check(), Ok(()));
    }
}
