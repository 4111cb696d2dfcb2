//! Hosts of all generations against the versions that Linux wants, over rings.

use ic_services::wire::{MessageType, Status, Version};

use super::ServiceVersions;
use super::file_copy::{FileCopy, FileCopyOptions};
use super::heartbeat::{BEAT_INTERVAL, Heartbeat};
use super::kvp::{Kvp, KvpOptions};
use super::request::Link;
use super::shutdown::Shutdown;
use super::testing::{Bench, Guest};
use super::time_sync::{TimeSync, TimeSyncOptions};
use super::vss::{Vss, VssOptions};
use crate::host_version::HostVersion;
use crate::vmbus::vsp::Vsp;

const HEARTBEAT: &[Version] = &[Version::new(3, 0), Version::new(1, 0)];
const SHUTDOWN: &[Version] = &[
    Version::new(3, 2),
    Version::new(3, 1),
    Version::new(3, 0),
    Version::new(1, 0),
];
const TIME_SYNC: &[Version] = &[Version::new(4, 0), Version::new(3, 0), Version::new(1, 0)];
const KVP: &[Version] = &[Version::new(4, 0), Version::new(3, 0), Version::new(1, 0)];
const VSS: &[Version] = &[Version::new(5, 0)];
const FILE_COPY: &[Version] = &[Version::new(1, 1)];

const UNKNOWN: &[Version] = &[Version::new(9, 0)];

/// What such a guest chooses.
fn chosen(
    device: &mut dyn Vsp,
    message_type: MessageType,
    wanted: &'static [Version],
) -> Option<Version> {
    let mut bench = Bench::open(device);
    let mut guest = Guest::new(message_type, wanted);
    bench.run_now(&mut guest, |_, _| Status::OK);
    guest.session.agreement().map(|agreement| agreement.version)
}

fn link_version(link: Link) -> Option<Version> {
    match link {
        Link::Ready(version) => Some(version),
        _ => None,
    }
}

/// One row of what Linux ends up with: heartbeat, shutdown, time, key-value pairs, backup, file copy.
fn row(host: HostVersion) -> [Option<Version>; 6] {
    let (mut heartbeat, _) = Heartbeat::with_versions(BEAT_INTERVAL, host.heartbeat());
    let (mut shutdown, ready) = Shutdown::with_versions(host.shutdown());
    let (mut time_sync, _) = TimeSync::new(TimeSyncOptions {
        versions: host.time_sync(),
        ..TimeSyncOptions::default()
    });
    let (mut kvp, _) = Kvp::new(KvpOptions {
        versions: host.kvp(),
        ..KvpOptions::default()
    });
    let heartbeat = chosen(&mut heartbeat, MessageType::HEARTBEAT, HEARTBEAT);
    let shutdown = chosen(&mut shutdown, MessageType::SHUTDOWN, SHUTDOWN);
    assert!(!ready.is_ready(), "the channel is closed again");
    let vss = host.vss().and_then(|versions| {
        let (mut vss, handle) = Vss::new(VssOptions {
            versions,
            ..VssOptions::default()
        });
        assert_eq!(handle.link(), Link::Closed);
        chosen(&mut vss, MessageType::VSS, VSS)
    });
    let file_copy = host.file_copy().and_then(|versions| {
        let (mut file_copy, _) = FileCopy::new(FileCopyOptions {
            versions,
            ..FileCopyOptions::default()
        });
        chosen(&mut file_copy, MessageType::FILE_COPY, FILE_COPY)
    });
    [
        heartbeat,
        shutdown,
        chosen(&mut time_sync, MessageType::TIME_SYNC, TIME_SYNC),
        chosen(&mut kvp, MessageType::KVP, KVP),
        vss,
        file_copy,
    ]
}

#[test]
fn linux_and_every_host_agree() {
    let v = |major, minor| Some(Version::new(major, minor));
    use HostVersion as H;
    for (host, expected) in [
        (
            H::Server2008,
            [v(1, 0), v(1, 0), v(1, 0), v(1, 0), None, None],
        ),
        (
            H::Server2008R2,
            [v(3, 0), v(3, 0), v(3, 0), v(3, 0), None, None],
        ),
        // Its backup is older than what Linux wants.
        (
            H::Server2012,
            [v(3, 0), v(3, 0), v(3, 0), v(4, 0), None, None],
        ),
        (
            H::Server2012R2,
            [v(3, 0), v(3, 0), v(3, 0), v(4, 0), v(5, 0), v(1, 1)],
        ),
        (
            H::Server2016,
            [v(3, 0), v(3, 1), v(4, 0), v(4, 0), v(5, 0), v(1, 1)],
        ),
        (
            H::Server2019,
            [v(3, 0), v(3, 2), v(4, 0), v(4, 0), v(5, 0), v(1, 1)],
        ),
        (
            H::Server2022,
            [v(3, 0), v(3, 2), v(4, 0), v(4, 0), v(5, 0), v(1, 1)],
        ),
        (
            H::Server2025,
            [v(3, 0), v(3, 2), v(4, 0), v(4, 0), v(5, 0), v(1, 1)],
        ),
    ] {
        assert_eq!(row(host), expected, "{host}");
    }
}

// C6h
#[test]
fn fault_74_a_guest_without_a_common_version_fails_the_service_alone() {
    let versions = ServiceVersions::new(vec![Version::new(3, 0)], vec![Version::new(9, 0)]);
    let (mut kvp, handle) = Kvp::new(KvpOptions {
        versions: versions.unwrap(),
        ..KvpOptions::default()
    });
    let mut bench = Bench::open(&mut kvp);
    let mut guest = Guest::new(MessageType::KVP, KVP);
    bench.run_now(&mut guest, |_, _| Status::OK);
    assert!(matches!(handle.link(), Link::Failed(_)));
    assert_eq!(link_version(handle.link()), None);
    // A guest that opens it again and knows more is served.
    bench.close();
    let mut bench = Bench::open(&mut kvp);
    let mut guest = Guest::new(MessageType::KVP, UNKNOWN);
    bench.run_now(&mut guest, |_, _| Status::OK);
    assert_eq!(link_version(handle.link()), Some(Version::new(9, 0)));
}

#[test]
fn fault_01_a_broken_ring_ends_what_is_waited_for() {
    let (mut kvp, handle) = Kvp::new(KvpOptions::default());
    let mut bench = Bench::open(&mut kvp);
    let mut guest = Guest::new(MessageType::KVP, KVP);
    bench.run_now(&mut guest, |_, _| Status::OK);
    let mut waiting = handle.get(super::kvp::Pool::Guest, "k").unwrap();
    bench.break_ring();
    assert!(bench.turn().is_err());
    // As the server does then.
    bench.close();
    let outcome = waiting.take();
    assert_eq!(outcome, Some(Err(super::RequestError::Abandoned.into())));
}

/// A guest that floods the host with answers does not keep it from returning.
#[test]
fn a_flood_is_read_in_portions() {
    let (mut kvp, _handle) = Kvp::new(KvpOptions::default());
    let mut bench = Bench::open(&mut kvp);
    bench.poll();
    // 24 bytes each in a ring of 12 KiB.
    for _ in 0..200 {
        bench.write(&[]);
    }
    let mut turns = 1;
    while bench.turn().unwrap() == crate::vmbus::vsp::NextPoll::Now {
        turns += 1;
        assert!(turns < 10);
    }
    assert_eq!(turns, 4, "64 at a time");
}
