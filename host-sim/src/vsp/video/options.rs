//! What the device is made with.

use thiserror::Error;
use vsc_video::wire::{MAX_RESOLUTIONS, ProtocolVersion, Resolution};

use super::mode::{MAX_EDGE, MIN_HEIGHT, MIN_WIDTH};
use crate::host_version::HostVersion;

/// Most MiB of video RAM.
pub(super) const MAX_VRAM_MEGABYTES: u16 = 256;

/// Why options make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OptionsError {
    /// Video RAM of no size or an absurd one.
    #[error("video RAM of {0} MiB is not 1 to {MAX_VRAM_MEGABYTES} MiB")]
    Vram(u16),
    /// The oldest version is newer than the newest.
    #[error("oldest version {oldest} is newer than newest version {newest}")]
    Versions {
        /// Oldest version.
        oldest: ProtocolVersion,
        /// Newest version.
        newest: ProtocolVersion,
    },
    /// No resolution, or more than a message holds.
    #[error("{0} resolutions are not 1 to {MAX_RESOLUTIONS}")]
    Count(usize),
    /// The preferred resolution isn't in the list.
    #[error("preferred resolution {index} is not in a list of {count}")]
    Preferred {
        /// Its index.
        index: usize,
        /// Length of the list.
        count: usize,
    },
    /// A resolution that no guest may set.
    #[error("resolution {width}x{height} is not {MIN_WIDTH}x{MIN_HEIGHT} to {MAX_EDGE}x{MAX_EDGE}")]
    Size {
        /// Pixels in a row.
        width: u16,
        /// Rows.
        height: u16,
    },
    /// Video RAM doesn't hold a picture of this size.
    #[error("resolution {width}x{height} does not fit into {megabytes} MiB of video RAM")]
    TooLarge {
        /// Pixels in a row.
        width: u16,
        /// Rows.
        height: u16,
        /// MiB of video RAM.
        megabytes: u16,
    },
}

/// The resolutions that a guest may choose from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolutionList {
    list: Vec<(u16, u16)>,
    preferred: usize,
}

impl ResolutionList {
    /// 1 to 64 resolutions, width and height in pixels, and the index of the preferred one.
    ///
    /// # Errors
    /// [`OptionsError`].
    pub fn new(list: Vec<(u16, u16)>, preferred: usize) -> Result<Self, OptionsError> {
        let count = list.len();
        if !(1..=MAX_RESOLUTIONS).contains(&count) {
            return Err(OptionsError::Count(count));
        }
        if preferred >= count {
            let index = preferred;
            return Err(OptionsError::Preferred { index, count });
        }
        for &(width, height) in &list {
            let is_sound = (MIN_WIDTH..=MAX_EDGE).contains(&u32::from(width))
                && (MIN_HEIGHT..=MAX_EDGE).contains(&u32::from(height));
            if !is_sound {
                return Err(OptionsError::Size { width, height });
            }
        }
        Ok(Self { list, preferred })
    }

    /// The usual resolutions that fit into so much video RAM, 1024 by 768 preferred if it is among them.
    #[must_use]
    pub fn usual(vram_megabytes: u16) -> Self {
        const USUAL: [(u16, u16); 16] = [
            (640, 480),
            (800, 600),
            (1024, 768),
            (1152, 864),
            (1280, 720),
            (1280, 1024),
            (1366, 768),
            (1440, 900),
            (1600, 900),
            (1600, 1200),
            (1680, 1050),
            (1920, 1080),
            (1920, 1200),
            (2560, 1440),
            (2560, 1600),
            (3840, 2160),
        ];
        let list: Vec<_> = USUAL
            .into_iter()
            .filter(|size| bytes(*size) <= u64::from(vram_megabytes) << 20)
            .collect();
        let preferred = list.iter().position(|size| *size == (1024, 768));
        Self {
            preferred: preferred.unwrap_or(list.len().saturating_sub(1)),
            list,
        }
    }

    /// The preferred resolution.
    #[must_use]
    pub fn preferred(&self) -> (u16, u16) {
        // Only an empty list has none, which the usual one for less than 2 MiB would be.
        self.list.get(self.preferred).copied().unwrap_or((640, 480))
    }

    /// The resolutions.
    #[must_use]
    pub fn list(&self) -> &[(u16, u16)] {
        &self.list
    }

    /// At most `most` of them, the preferred one always among them, and its index.
    pub(super) fn first(&self, most: usize) -> (Vec<Resolution>, u8) {
        let mut list: Vec<_> = self.list.iter().take(most).copied().collect();
        let mut index = self.preferred;
        if index >= list.len()
            && let Some(last) = list.last_mut()
        {
            *last = self.preferred();
            index = list.len() - 1;
        }
        let list: Vec<_> = list
            .into_iter()
            .map(|(width, height)| Resolution::new(width, height))
            .collect();
        let index = if list.is_empty() { 0 } else { index };
        // Below 64.
        (list, index as u8)
    }

    /// Whether all of them fit into video RAM.
    pub(super) fn check(&self, megabytes: u16) -> Result<(), OptionsError> {
        let too_large = |size: &&(u16, u16)| bytes(**size) > u64::from(megabytes) << 20;
        match self.list.iter().find(too_large) {
            Some(&(width, height)) => Err(OptionsError::TooLarge {
                width,
                height,
                megabytes,
            }),
            None => Ok(()),
        }
    }
}

/// Bytes of a picture of 32 bits for each pixel.
fn bytes((width, height): (u16, u16)) -> u64 {
    u64::from(width) * u64::from(height) * 4
}

/// What the device is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoOptions {
    /// MiB of video RAM, 1 to 256. It says so in the offer.
    pub vram_megabytes: u16,
    /// Newest version that the host accepts.
    pub newest: ProtocolVersion,
    /// Oldest version that the host accepts. Today's hosts refuse 3.0.
    pub oldest: ProtocolVersion,
    /// Resolutions that the guest may choose from; told from version 3.5 on.
    pub resolutions: ResolutionList,
}

impl Default for VideoOptions {
    fn default() -> Self {
        Self::with_vram(8)
    }
}

impl VideoOptions {
    /// The defaults with this much video RAM, in MiB, and the usual resolutions that fit into it.
    #[must_use]
    pub fn with_vram(megabytes: u16) -> Self {
        Self {
            vram_megabytes: megabytes,
            newest: ProtocolVersion::V3_5,
            oldest: ProtocolVersion::V3_2,
            resolutions: ResolutionList::usual(megabytes),
        }
    }

    /// What hosts of a generation offer, with this much video RAM, in MiB.
    #[must_use]
    pub fn like(generation: HostVersion, megabytes: u16) -> Self {
        let newest = generation.newest_video();
        Self {
            newest,
            oldest: newest.min(ProtocolVersion::V3_2),
            ..Self::with_vram(megabytes)
        }
    }

    /// What a host of Windows 7's time offers: version 3.0 alone, 16 bits for each pixel, 4 MiB.
    #[must_use]
    pub fn windows_7() -> Self {
        Self {
            newest: ProtocolVersion::V3_0,
            oldest: ProtocolVersion::V3_0,
            ..Self::with_vram(4)
        }
    }

    pub(super) fn vram_bytes(&self) -> u64 {
        u64::from(self.vram_megabytes) << 20
    }

    pub(super) fn check(&self) -> Result<(), OptionsError> {
        if !(1..=MAX_VRAM_MEGABYTES).contains(&self.vram_megabytes) {
            return Err(OptionsError::Vram(self.vram_megabytes));
        }
        if self.oldest > self.newest {
            return Err(OptionsError::Versions {
                oldest: self.oldest,
                newest: self.newest,
            });
        }
        self.resolutions.check(self.vram_megabytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked() {
        assert_eq!(VideoOptions::default().check(), Ok(()));
        assert_eq!(VideoOptions::windows_7().check(), Ok(()));
        for megabytes in [0, 257, u16::MAX] {
            let options = VideoOptions::with_vram(megabytes);
            assert_eq!(options.check(), Err(OptionsError::Vram(megabytes)));
        }
        let options = VideoOptions {
            newest: ProtocolVersion::V3_0,
            ..VideoOptions::default()
        };
        assert!(matches!(
            options.check(),
            Err(OptionsError::Versions { .. })
        ));
        let options = VideoOptions {
            resolutions: ResolutionList::new(vec![(1920, 1200)], 0).unwrap(),
            ..VideoOptions::default()
        };
        assert!(matches!(
            options.check(),
            Err(OptionsError::TooLarge { .. })
        ));
    }

    #[test]
    fn lists_are_checked() {
        let list = |list, preferred| ResolutionList::new(list, preferred).unwrap_err();
        assert_eq!(list(vec![], 0), OptionsError::Count(0));
        assert_eq!(list(vec![(800, 600); 65], 0), OptionsError::Count(65));
        assert!(matches!(
            list(vec![(800, 600)], 1),
            OptionsError::Preferred { .. }
        ));
        for (width, height) in [(0, 0), (639, 480), (640, 479), (8193, 600), (800, u16::MAX)] {
            assert_eq!(
                list(vec![(800, 600), (width, height)], 0),
                OptionsError::Size { width, height }
            );
        }
    }

    #[test]
    fn the_preferred_resolution_is_always_told() {
        let list = ResolutionList::new(vec![(640, 480), (800, 600), (1024, 768)], 2).unwrap();
        let told = |most| {
            let (list, index) = list.first(most);
            let sizes: Vec<_> = list.iter().map(|size| size.width.get()).collect();
            (sizes, index)
        };
        assert_eq!(told(64), (vec![640, 800, 1024], 2));
        assert_eq!(told(2), (vec![640, 1024], 1));
        assert_eq!(told(1), (vec![1024], 0));
        assert_eq!(told(0), (vec![], 0));
        assert_eq!(ResolutionList::usual(8).preferred(), (1024, 768));
        assert!(ResolutionList::usual(8).list().contains(&(1920, 1080)));
        assert!(!ResolutionList::usual(8).list().contains(&(1920, 1200)));
    }
}
