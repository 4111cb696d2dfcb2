//! The versions that the host offers for a service.

use std::borrow::Cow;

use ic_services::wire::{MAX_VERSIONS, Version};
use thiserror::Error;

/// Versions of the framework and of a service that the host offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceVersions {
    frameworks: Cow<'static, [Version]>,
    versions: Cow<'static, [Version]>,
}

/// A list of versions cannot be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0} versions cannot be offered, but 1 to {MAX_VERSIONS}")]
pub struct VersionsError(
    /// How many there are.
    pub usize,
);

impl ServiceVersions {
    /// These versions, each list from the oldest to the newest as hosts send them.
    ///
    /// # Errors
    /// [`VersionsError`] if a list is empty or longer than a guest accepts.
    pub fn new(frameworks: Vec<Version>, versions: Vec<Version>) -> Result<Self, VersionsError> {
        for list in [&frameworks, &versions] {
            if !(1..=usize::from(MAX_VERSIONS)).contains(&list.len()) {
                return Err(VersionsError(list.len()));
            }
        }
        Ok(Self {
            frameworks: frameworks.into(),
            versions: versions.into(),
        })
    }

    /// These versions; neither list may be empty or longer than a guest accepts.
    pub(crate) const fn fixed(
        frameworks: &'static [Version],
        versions: &'static [Version],
    ) -> Self {
        assert!(!frameworks.is_empty() && frameworks.len() <= MAX_VERSIONS as usize);
        assert!(!versions.is_empty() && versions.len() <= MAX_VERSIONS as usize);
        Self {
            frameworks: Cow::Borrowed(frameworks),
            versions: Cow::Borrowed(versions),
        }
    }

    /// Those that are not newer than these; `None` if a list has none.
    #[must_use]
    pub fn up_to(&self, newest_framework: Version, newest_version: Version) -> Option<Self> {
        let older = |list: &[Version], newest| {
            let list = list.iter().copied();
            list.filter(|version| *version <= newest).collect()
        };
        let frameworks = older(&self.frameworks, newest_framework);
        Self::new(frameworks, older(&self.versions, newest_version)).ok()
    }

    /// Versions of the framework.
    #[must_use]
    pub fn frameworks(&self) -> &[Version] {
        &self.frameworks
    }

    /// Versions of the service.
    #[must_use]
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_limits() {
        let list = |count| vec![Version::new(1, 0); count];
        assert!(ServiceVersions::new(list(100), list(1)).is_ok());
        assert_eq!(
            ServiceVersions::new(list(0), list(1)),
            Err(VersionsError(0))
        );
        assert_eq!(
            ServiceVersions::new(list(1), list(101)),
            Err(VersionsError(101))
        );
    }

    #[test]
    fn older_versions_are_chosen() {
        let (old, new) = (Version::new(1, 0), Version::new(3, 0));
        let all = ServiceVersions::new(vec![old, new], vec![old, new]).unwrap();
        let some = all.up_to(new, Version::new(2, 9)).unwrap();
        assert_eq!(
            (some.frameworks(), some.versions()),
            (&[old, new][..], &[old][..])
        );
        assert_eq!(all.up_to(new, Version::new(0, 9)), None);
    }
}
