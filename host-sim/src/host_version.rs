//! Generations of Windows Server, and the protocol versions that a host of each offers.
//!
//! What is known of real hosts comes from logs of guests and from the tables of old guest drivers; real hosts also offer
//! everything older. Where a version is only inferred, the table says so.

use std::fmt;
use std::str::FromStr;

use ic_services::wire::Version as ServiceVersion;
use thiserror::Error;
use vmbus_core::version::ProtocolVersion;
use vsc_net::wire::nvsp::Version as NetworkVersion;
use vsc_storage::wire::Version as StorageVersion;
use vsc_video::wire::ProtocolVersion as VideoVersion;

use crate::ic::ServiceVersions;

/// A generation of Windows Server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HostVersion {
    /// Windows Server 2008.
    Server2008,
    /// Windows Server 2008 R2.
    Server2008R2,
    /// Windows Server 2012.
    Server2012,
    /// Windows Server 2012 R2.
    Server2012R2,
    /// Windows Server 2016.
    Server2016,
    /// Windows Server 2019.
    Server2019,
    /// Windows Server 2022.
    Server2022,
    /// Windows Server 2025.
    Server2025,
}

/// What a generation offers.
struct Generation {
    name: &'static str,
    vmbus: ProtocolVersion,
    storage: StorageVersion,
    network: NetworkVersion,
    video: VideoVersion,
    framework: ServiceVersion,
    heartbeat: ServiceVersion,
    shutdown: ServiceVersion,
    time_sync: ServiceVersion,
    kvp: ServiceVersion,
    vss: Option<ServiceVersion>,
    file_copy: Option<ServiceVersion>,
}

const fn v(major: u16, minor: u16) -> ServiceVersion {
    ServiceVersion::new(major, minor)
}

// Sources: VMBus from spec 02, the table of versions, column "Host generation" (2025 is its "later"). Storage from
// spec 03 A.9; generations after 2016 added none. Network (NVSP) from spec 04 §2.1 for the numbers, which does not say
// the generations: inferred from the NDIS version that each brings (5: NDIS 6.30) and from receive coalescing (6.1),
// which came with 2019. Video from spec 05 §2.3; 2008 is inferred from 2008 R2, as nothing older is known. Services
// from spec 06 §1.5, "Highest version known per host generation"; there, 3.1 of heartbeat, all of VSS but 5.0, shutdown
// and KVP of 2016 are inferred too.
const fn generation(version: HostVersion) -> Generation {
    use HostVersion as H;
    let base = Generation {
        name: "2008",
        vmbus: ProtocolVersion::V0_13,
        storage: StorageVersion::Win6,
        network: NetworkVersion::V1,
        video: VideoVersion::V3_0,
        framework: v(1, 0),
        heartbeat: v(1, 0),
        shutdown: v(1, 0),
        time_sync: v(1, 0),
        kvp: v(1, 0),
        vss: None,
        file_copy: None,
    };
    match version {
        H::Server2008 => base,
        H::Server2008R2 => Generation {
            name: "2008R2",
            vmbus: ProtocolVersion::V1_1,
            storage: StorageVersion::Win7,
            network: NetworkVersion::V2,
            framework: v(3, 0),
            heartbeat: v(3, 0),
            shutdown: v(3, 0),
            time_sync: v(3, 0),
            kvp: v(3, 0),
            ..base
        },
        H::Server2012 => Generation {
            name: "2012",
            vmbus: ProtocolVersion::V2_4,
            storage: StorageVersion::Win8,
            network: NetworkVersion::V4,
            video: VideoVersion::V3_2,
            kvp: v(4, 0),
            vss: Some(v(4, 0)),
            ..generation(H::Server2008R2)
        },
        H::Server2012R2 => Generation {
            name: "2012R2",
            vmbus: ProtocolVersion::V3_0,
            storage: StorageVersion::Win8_1,
            network: NetworkVersion::V5,
            video: VideoVersion::V3_3,
            vss: Some(v(5, 0)),
            file_copy: Some(v(1, 1)),
            ..generation(H::Server2012)
        },
        H::Server2016 => Generation {
            name: "2016",
            vmbus: ProtocolVersion::V4_0,
            storage: StorageVersion::Win10,
            network: NetworkVersion::V6,
            video: VideoVersion::V3_4,
            heartbeat: v(3, 1),
            shutdown: v(3, 1),
            time_sync: v(4, 0),
            kvp: v(5, 0),
            vss: Some(v(7, 0)),
            ..generation(H::Server2012R2)
        },
        H::Server2019 => Generation {
            name: "2019",
            vmbus: ProtocolVersion::V5_2,
            network: NetworkVersion::V6_1,
            video: VideoVersion::V3_5,
            shutdown: v(3, 2),
            ..generation(H::Server2016)
        },
        H::Server2022 => Generation {
            name: "2022",
            vmbus: ProtocolVersion::V5_3,
            ..generation(H::Server2019)
        },
        H::Server2025 => Generation {
            name: "2025",
            vmbus: ProtocolVersion::V6_0,
            ..generation(H::Server2022)
        },
    }
}

/// Framework versions of services that old hosts have.
const FRAMEWORKS: &[ServiceVersion] = &[v(1, 0), v(3, 0)];
/// Framework versions of services that came later.
const LATE_FRAMEWORKS: &[ServiceVersion] = &[v(3, 0)];

const HEARTBEAT: ServiceVersions = ServiceVersions::fixed(FRAMEWORKS, &[v(1, 0), v(3, 0), v(3, 1)]);
const SHUTDOWN: ServiceVersions =
    ServiceVersions::fixed(FRAMEWORKS, &[v(1, 0), v(3, 0), v(3, 1), v(3, 2)]);
const TIME_SYNC: ServiceVersions = ServiceVersions::fixed(FRAMEWORKS, &[v(1, 0), v(3, 0), v(4, 0)]);
const KVP: ServiceVersions =
    ServiceVersions::fixed(FRAMEWORKS, &[v(1, 0), v(3, 0), v(4, 0), v(5, 0)]);
const VSS: ServiceVersions =
    ServiceVersions::fixed(LATE_FRAMEWORKS, &[v(4, 0), v(5, 0), v(6, 0), v(7, 0)]);
const FILE_COPY: ServiceVersions = ServiceVersions::fixed(LATE_FRAMEWORKS, &[v(1, 1)]);

impl HostVersion {
    /// All generations, the oldest first.
    pub const ALL: [Self; 8] = [
        Self::Server2008,
        Self::Server2008R2,
        Self::Server2012,
        Self::Server2012R2,
        Self::Server2016,
        Self::Server2019,
        Self::Server2022,
        Self::Server2025,
    ];

    /// Its name: the year.
    #[must_use]
    pub const fn name(self) -> &'static str {
        generation(self).name
    }

    /// The newest version of VMBus.
    #[must_use]
    pub const fn newest_vmbus(self) -> ProtocolVersion {
        generation(self).vmbus
    }

    /// All versions of VMBus, the newest first.
    pub fn vmbus(self) -> impl Iterator<Item = ProtocolVersion> + Clone {
        ProtocolVersion::between(self.newest_vmbus(), ProtocolVersion::OLDEST)
    }

    /// The newest version of the storage protocol.
    #[must_use]
    pub const fn newest_storage(self) -> StorageVersion {
        generation(self).storage
    }

    /// All versions of the storage protocol, the newest first.
    pub fn storage(self) -> impl Iterator<Item = StorageVersion> + Clone {
        let all = StorageVersion::ALL_NEWEST_FIRST.into_iter();
        all.filter(move |version| *version <= self.newest_storage())
    }

    /// The newest version of the network protocol, NVSP.
    #[must_use]
    pub const fn newest_network(self) -> NetworkVersion {
        generation(self).network
    }

    /// All versions of NVSP, the newest first.
    pub fn network(self) -> impl Iterator<Item = NetworkVersion> + Clone {
        let all = NetworkVersion::ALL_NEWEST_FIRST.into_iter();
        all.filter(move |version| *version <= self.newest_network())
    }

    /// The newest version of the video protocol.
    #[must_use]
    pub const fn newest_video(self) -> VideoVersion {
        generation(self).video
    }

    /// All versions of the video protocol, the newest first.
    pub fn video(self) -> impl Iterator<Item = VideoVersion> + Clone {
        let all = VideoVersion::ALL.into_iter().rev();
        all.filter(move |version| *version <= self.newest_video())
    }

    /// Versions of the heartbeat.
    #[must_use]
    pub fn heartbeat(self) -> ServiceVersions {
        self.every(&HEARTBEAT, generation(self).heartbeat)
    }

    /// Versions of the shutdown service.
    #[must_use]
    pub fn shutdown(self) -> ServiceVersions {
        self.every(&SHUTDOWN, generation(self).shutdown)
    }

    /// Versions of time synchronisation.
    #[must_use]
    pub fn time_sync(self) -> ServiceVersions {
        self.every(&TIME_SYNC, generation(self).time_sync)
    }

    /// Versions of key-value exchange.
    #[must_use]
    pub fn kvp(self) -> ServiceVersions {
        self.every(&KVP, generation(self).kvp)
    }

    /// Versions of the backup service; `None` before 2012.
    #[must_use]
    pub fn vss(self) -> Option<ServiceVersions> {
        let generation = generation(self);
        VSS.up_to(generation.framework, generation.vss?)
    }

    /// Versions of file copy; `None` before 2012 R2.
    #[must_use]
    pub fn file_copy(self) -> Option<ServiceVersions> {
        let generation = generation(self);
        FILE_COPY.up_to(generation.framework, generation.file_copy?)
    }

    /// Versions up to the newest of a service that every generation has.
    fn every(self, all: &ServiceVersions, newest: ServiceVersion) -> ServiceVersions {
        all.up_to(generation(self).framework, newest)
            .expect("1.0 is everywhere")
    }
}

impl fmt::Display for HostVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no generation.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no host version {0:?}: one of {list}", list = HostVersion::ALL.map(HostVersion::name).join(", "))]
pub struct UnknownHostVersion(
    /// The text.
    pub String,
);

impl FromStr for HostVersion {
    type Err = UnknownHostVersion;

    /// Reads the year, with `R2` in either case.
    fn from_str(text: &str) -> Result<Self, UnknownHostVersion> {
        let named = |version: &Self| version.name().eq_ignore_ascii_case(text);
        let found = Self::ALL.into_iter().find(named);
        found.ok_or_else(|| UnknownHostVersion(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_round() {
        for version in HostVersion::ALL {
            assert_eq!(version.to_string().parse(), Ok(version));
            assert_eq!(version.name().to_lowercase().parse(), Ok(version));
        }
        let unknown = "2003".parse::<HostVersion>().unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "no host version \"2003\": one of 2008, 2008R2, 2012, 2012R2, 2016, 2019, 2022, 2025"
        );
    }

    #[test]
    fn nothing_gets_older() {
        let newest = |services: ServiceVersions| services.versions().last().copied();
        let all = HostVersion::ALL.map(|version| {
            (
                version.newest_vmbus(),
                version.newest_storage(),
                version.newest_network(),
                version.newest_video(),
                [
                    newest(version.heartbeat()),
                    newest(version.shutdown()),
                    newest(version.time_sync()),
                    newest(version.kvp()),
                    version.vss().and_then(newest),
                    version.file_copy().and_then(newest),
                ],
            )
        });
        for pair in all.windows(2) {
            assert!(pair[0].0 < pair[1].0);
            assert!(pair[0].1 <= pair[1].1);
            assert!(pair[0].2 <= pair[1].2);
            assert!(pair[0].3 <= pair[1].3);
            assert!(
                pair[0]
                    .4
                    .iter()
                    .zip(pair[1].4)
                    .all(|(old, new)| *old <= new)
            );
        }
    }

    #[test]
    fn the_oldest_and_the_newest() {
        let old = HostVersion::Server2008;
        assert_eq!(old.vmbus().collect::<Vec<_>>(), [ProtocolVersion::V0_13]);
        assert_eq!(old.storage().collect::<Vec<_>>(), [StorageVersion::Win6]);
        assert_eq!(old.network().collect::<Vec<_>>(), [NetworkVersion::V1]);
        assert_eq!(old.kvp().frameworks(), [v(1, 0)]);
        assert_eq!((old.vss(), old.file_copy()), (None, None));
        assert_eq!(HostVersion::Server2012.file_copy(), None);
        let new = HostVersion::Server2025;
        assert_eq!(new.vmbus().count(), ProtocolVersion::ALL_NEWEST_FIRST.len());
        assert_eq!(new.storage().count(), 5);
        assert_eq!(
            new.network().collect::<Vec<_>>(),
            NetworkVersion::ALL_NEWEST_FIRST
        );
        assert_eq!(new.video().next(), Some(VideoVersion::V3_5));
        assert_eq!(new.heartbeat().versions(), [v(1, 0), v(3, 0), v(3, 1)]);
        assert_eq!(new.vss().unwrap().versions().last(), Some(&v(7, 0)));
        assert_eq!(new.file_copy().unwrap().versions(), [v(1, 1)]);
    }
}
