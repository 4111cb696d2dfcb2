//! Back ends, each with what is at its other end. Those that the machine does not permit are skipped by name.

mod network_support;
mod skip;

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use host_sim::net::headers::Headers;
use host_sim::net::passt::Passt;
use host_sim::net::peer::{PeerOptions, SmoltcpPeer};
use host_sim::net::stream::{read_frame, write_frame};
use host_sim::net::switch::{Switch, SwitchPort};
use host_sim::net::tap::Tap;
use host_sim::net::{
    BackendError, BackendWaker, Frame, MacAddress, NetworkBackend, PartialChecksum, Segmentation,
    SendError,
};
use network_support::{Packet, STRANGER, pattern};
use skip::skip;

const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that other threads or processes do; fails when that takes too long.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn receive(backend: &dyn NetworkBackend) -> Frame {
    until("a frame", || {
        let mut frame = Frame::default();
        backend.receive(&mut frame).then_some(frame)
    })
}

fn frame(to: [u8; 6], from: [u8; 6], payload: &[u8]) -> Frame {
    Frame::new([to.as_slice(), &from, &[0x88, 0xB5], payload].concat())
}

fn mac(last: u8) -> [u8; 6] {
    [0, 0x15, 0x5D, 0, 0, last]
}

// ---- passt ----

/// A program that speaks passt's protocol on the descriptor that it is given, and sends back what it gets.
const ECHO: &str = "#!/bin/sh\nexec cat <&$4 >&$4\n";

#[test]
fn a_socket_of_passt_carries_frames_and_its_end_is_the_links() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    assert!(matches!(
        Passt::connect(&path),
        Err(BackendError::System { .. })
    ));
    let listener = UnixListener::bind(&path).unwrap();
    let passt = Passt::connect(&path).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    let (woken, wakes) = mpsc::channel();
    passt.set_waker(Some(BackendWaker::new(move || {
        let _ = woken.send(());
    })));
    let (sent, back) = (
        frame(STRANGER, mac(1), &pattern(900)),
        frame(mac(1), STRANGER, &[5; 60]),
    );
    passt.send(&sent).unwrap();
    assert_eq!(read_frame(&mut peer).unwrap(), Some(sent.clone()));
    write_frame(&mut peer, &back, &mut Vec::new()).unwrap();
    wakes.recv_timeout(PATIENCE).unwrap();
    assert_eq!(receive(&passt), back);
    assert!(passt.link().is_up);
    drop(peer);
    wakes.recv_timeout(PATIENCE).unwrap();
    until("the link to go down", || {
        (!passt.link().is_up).then_some(())
    });
    assert_eq!(passt.send(&sent), Err(SendError::LinkDown));
}

#[test]
fn lies_about_lengths_end_the_connection() {
    for lie in [0u32, 13, 70_000, u32::MAX] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let passt = Passt::connect(&path).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut peer, &lie.to_be_bytes()).unwrap();
        until("the link to go down", || {
            (!passt.link().is_up).then_some(())
        });
    }
}

#[test]
fn a_peer_that_reads_nothing_costs_frames_and_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let passt = Passt::connect(&path).unwrap();
    let (_peer, _) = listener.accept().unwrap();
    let long = frame(STRANGER, mac(1), &pattern(9000));
    let mut refused = 0;
    for _ in 0..5000 {
        refused += u32::from(passt.send(&long) == Err(SendError::Full));
    }
    assert!(refused > 3000, "{refused}");
}

#[test]
fn passt_as_a_child_ends_with_its_adapter_and_its_death_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("echo");
    std::fs::write(&program, ECHO).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let passt = Passt::spawn_program(&program, &[]).unwrap();
    let sent = frame(STRANGER, mac(1), &pattern(1400));
    passt.send(&sent).unwrap();
    assert_eq!(receive(&passt), sent);
    let process = passt.process_id().unwrap();
    let kill = Command::new("kill")
        .args(["-9", &process.to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    until("the link to go down", || {
        (!passt.link().is_up).then_some(())
    });
    drop(passt);
    assert!(!std::path::Path::new(&format!("/proc/{process}")).exists());
    let missing = Passt::spawn_program(std::path::Path::new("/nonexistent/passt"), &[]);
    assert!(matches!(missing, Err(BackendError::Missing(_))));
}

#[test]
fn the_real_passt_answers_arp() {
    if Passt::find().is_none() {
        return skip("passt", "not installed");
    }
    let passt = match Passt::spawn() {
        Ok(passt) => passt,
        Err(error) => return skip("passt", &error.to_string()),
    };
    // passt answers for every address but the guest's own.
    let mut request = vec![0xFF; 6];
    request.extend(mac(1));
    request.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    request.extend(mac(1));
    request.extend([169, 254, 2, 1, 0, 0, 0, 0, 0, 0, 169, 254, 2, 2]);
    request.resize(60, 0);
    let deadline = Instant::now() + PATIENCE;
    let answered = loop {
        let _ = passt.send(&Frame::new(request.clone()));
        std::thread::sleep(Duration::from_millis(50));
        let mut answer = Frame::default();
        if passt.receive(&mut answer) && answer.bytes.get(12..14) == Some(&[8, 6]) {
            break true;
        }
        if !passt.link().is_up || Instant::now() > deadline {
            break false;
        }
    };
    if !answered && !passt.link().is_up {
        return skip(
            "passt",
            "it does not run here (no network, or not permitted)",
        );
    }
    assert!(answered);
}

// ---- switch ----

#[test]
fn a_switch_learns_and_forwards() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("switch");
    let switch = Switch::listen(&path).unwrap();
    assert!(Switch::listen(&path).is_err(), "one listens already");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let ports: Vec<_> = (0..3).map(|_| SwitchPort::open(&path).unwrap()).collect();
    until("all ports", || (switch.counters().ports == 3).then_some(()));
    // Unknown: to all others.
    ports[0].send(&frame(mac(1), mac(0), &[1; 50])).unwrap();
    for port in &ports[1..] {
        assert_eq!(receive(port).bytes[14], 1);
    }
    // Known: to the one.
    ports[1].send(&frame(mac(0), mac(1), &[2; 50])).unwrap();
    assert_eq!(receive(&ports[0]).bytes[14], 2);
    ports[0].send(&frame(mac(1), mac(0), &[3; 50])).unwrap();
    assert_eq!(receive(&ports[1]).bytes[14], 3);
    // Everybody's.
    ports[2].send(&frame([0xFF; 6], mac(2), &[4; 50])).unwrap();
    assert_eq!(receive(&ports[0]).bytes[14], 4);
    assert_eq!(receive(&ports[1]).bytes[14], 4);
    assert!(
        !ports[2].receive(&mut Frame::default()),
        "nothing comes back"
    );
    let counters = switch.counters();
    assert_eq!(
        (counters.forwarded, counters.flooded, counters.addresses),
        (2, 2, 3)
    );
    // A guest that goes is forgotten.
    let mut ports = ports;
    ports.remove(1);
    until("the port to go", || {
        (switch.counters().ports == 2).then_some(())
    });
    assert_eq!(switch.counters().addresses, 2);
}

#[test]
fn a_hostile_port_hurts_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("switch");
    let switch = Switch::listen(&path).unwrap();
    let good = SwitchPort::open(&path).unwrap();
    for lie in [[0xFF; 8].as_slice(), &[0, 0, 0, 5, 1, 2, 3, 4]] {
        let mut bad = UnixStream::connect(&path).unwrap();
        std::io::Write::write_all(&mut bad, lie).unwrap();
        // It is disconnected.
        assert!(matches!(read_frame(&mut bad), Ok(None) | Err(_)));
    }
    // One that reads nothing holds nobody back.
    let _deaf = UnixStream::connect(&path).unwrap();
    let other = SwitchPort::open(&path).unwrap();
    until("the ports", || (switch.counters().ports == 3).then_some(()));
    for _ in 0..3000 {
        let _ = good.send(&frame([0xFF; 6], mac(1), &pattern(1000)));
        while other.receive(&mut Frame::default()) {}
    }
    until("drops at the deaf port", || {
        (switch.counters().dropped > 0).then_some(())
    });
    other.send(&frame(mac(1), mac(2), &[9; 50])).unwrap();
    until("the answer", || {
        let mut frame = Frame::default();
        (good.receive(&mut frame) && frame.bytes[14] == 9).then_some(())
    });
}

#[test]
fn a_port_counts_what_its_guest_does_not_take() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("switch");
    let (sender, deaf) = (
        SwitchPort::open(&path).unwrap(),
        SwitchPort::open(&path).unwrap(),
    );
    let sent = frame([0xFF; 6], mac(1), &[1; 50]);
    until("frames without room", || {
        for _ in 0..100 {
            let _ = sender.send(&sent);
        }
        (deaf.dropped() > 0).then_some(())
    });
    assert_eq!(sender.dropped(), 0);
    assert_eq!(receive(&deaf), sent, "those before are kept");
}

#[test]
fn ports_make_the_switch_and_one_takes_over_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("switch");
    let first = SwitchPort::open(&path).unwrap();
    assert!(first.link().is_up);
    let (second, third) = (
        SwitchPort::open(&path).unwrap(),
        SwitchPort::open(&path).unwrap(),
    );
    let talk = |from: &SwitchPort, to: &SwitchPort| {
        until("the other port", || {
            let _ = from.send(&frame([0xFF; 6], mac(7), &[7; 50]));
            to.receive(&mut Frame::default()).then_some(())
        });
    };
    talk(&first, &second);
    talk(&third, &first);
    // The first one was the switch.
    drop(first);
    talk(&second, &third);
    talk(&third, &second);
    let nowhere = SwitchPort::open(std::path::Path::new("/nonexistent/switch"));
    assert!(matches!(nowhere, Err(BackendError::System { .. })));
}

// ---- TAP ----

/// A TAP interface, if the machine permits it.
fn tap() -> Option<Tap> {
    match Tap::open("viridian%d") {
        Ok(tap) => Some(tap),
        Err(error) => {
            skip("TAP", &error.to_string());
            None
        }
    }
}

fn ip(arguments: &[&str]) -> bool {
    let status = Command::new("ip").args(arguments).status();
    status.is_ok_and(|status| status.success())
}

#[test]
fn names_that_are_none_are_refused() {
    for name in ["", "a/b", "sixteen-bytes-xx", "with blank", "nul\0"] {
        assert!(
            matches!(Tap::open(name), Err(BackendError::Missing(_))),
            "{name:?}"
        );
    }
}

#[test]
fn a_tap_interface_carries_frames_with_their_offloads() {
    let Some(tap) = tap() else { return };
    let name = tap.name().to_owned();
    // Down, frames are lost and the adapter goes on.
    assert_eq!(
        tap.send(&frame(STRANGER, mac(1), &[0; 50])),
        Err(SendError::LinkDown)
    );
    let (Some(own), true) = (
        std::fs::read_to_string(format!("/sys/class/net/{name}/address")).ok(),
        ip(&["addr", "add", "10.97.0.1/24", "dev", &name]) && ip(&["link", "set", &name, "up"]),
    ) else {
        return skip("TAP", "the interface cannot be configured here");
    };
    let own: MacAddress = own.trim().parse().unwrap();
    let socket = std::net::UdpSocket::bind("10.97.0.1:4242").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let datagram = |payload: &'static [u8]| {
        let packet = Packet {
            ports: [999, 4242],
            host: 2,
            ..Packet::udp(own.0, mac(2), payload)
        };
        let mut bytes = packet.bare();
        bytes[26..34].copy_from_slice(&[10, 97, 0, 2, 10, 97, 0, 1]);
        bytes
    };
    // A datagram whose checksum the kernel has to make.
    let mut bytes = datagram(b"left to the kernel");
    let headers = Headers::parse(&bytes).unwrap();
    host_sim::net::checksum::fill_ipv4_header(&mut bytes, &headers);
    host_sim::net::checksum::seed_transport(&mut bytes, &headers).unwrap();
    let mut partial = Frame::new(bytes);
    partial.offload.checksum = Some(PartialChecksum {
        start: 34,
        offset: 6,
    });
    tap.send(&partial).unwrap();
    let mut buffer = [0; 100];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(
        (&buffer[..length], from.to_string()),
        (b"left to the kernel".as_slice(), "10.97.0.2:999".into())
    );
    // Metadata that makes no sense is refused by the kernel, and only that frame is lost.
    let mut nonsense = partial.clone();
    nonsense.offload.segmentation = Some(Segmentation {
        is_ipv6: false,
        segment_size: 0,
        header_length: 60_000,
    });
    assert_eq!(tap.send(&nonsense), Err(SendError::Refused));
    // From the kernel: it asks for the address before it answers.
    assert!(ip(&[
        "neigh",
        "replace",
        "10.97.0.2",
        "lladdr",
        "00:15:5d:00:00:02",
        "dev",
        &name
    ]));
    socket.send_to(b"answer", from).unwrap();
    let answer = until("the answer", || {
        let mut frame = Frame::default();
        (tap.receive(&mut frame) && frame.bytes.ends_with(b"answer")).then_some(frame)
    });
    assert_eq!(answer.bytes[..6], mac(2));
    assert!(
        answer.offload.checksum.is_some(),
        "left to us, as we said that we can"
    );
    assert!(
        matches!(Tap::open(&name), Err(BackendError::System { .. })),
        "in use"
    );
    // Deleted under the adapter: the link goes down.
    let (woken, wakes) = mpsc::channel();
    tap.set_waker(Some(BackendWaker::new(move || {
        let _ = woken.send(());
    })));
    assert!(ip(&["link", "delete", &name]));
    until("the link to go down", || (!tap.link().is_up).then_some(()));
    wakes.recv_timeout(PATIENCE).unwrap();
    assert_eq!(tap.send(&partial), Err(SendError::LinkDown));
}

// ---- user ----

#[test]
fn networks_that_contradict_themselves_are_refused() {
    let base = PeerOptions::default();
    let outside = Ipv4Addr::new(10, 0, 3, 1);
    for options in [
        PeerOptions {
            mac: MacAddress::BROADCAST,
            ..base
        },
        PeerOptions { prefix: 31, ..base },
        PeerOptions { prefix: 0, ..base },
        PeerOptions { mtu: 100, ..base },
        PeerOptions { leases: 0, ..base },
        PeerOptions {
            leases: 257,
            ..base
        },
        PeerOptions {
            first_lease: outside,
            ..base
        },
        PeerOptions {
            address: outside,
            ..base
        },
        PeerOptions {
            first_lease: Ipv4Addr::new(10, 0, 2, 1),
            ..base
        },
        PeerOptions {
            first_lease: Ipv4Addr::new(10, 0, 2, 250),
            ..base
        },
    ] {
        assert!(SmoltcpPeer::new(options).is_err(), "{options:?}");
    }
}

#[test]
fn the_user_network_answers_arp_and_ping() {
    let peer = SmoltcpPeer::new(PeerOptions::default()).unwrap();
    peer.send(&arp_request()).unwrap();
    let answer = receive(&peer);
    assert_eq!(answer.bytes[6..12], PeerOptions::default().mac.0);
    assert_eq!(answer.bytes[20..22], [0, 2], "a reply");
    // Any bytes are survived.
    for length in 0..200 {
        let _ = peer.send(&Frame::new(pattern(length)));
    }
    // The shortest, the longest of a guest with the usual MTU, and the longest there is.
    for payload in [8, 1472, 8972] {
        let echo = ping(&pattern(payload));
        peer.send(&Frame::new(echo.clone())).unwrap();
        let answer = receive(&peer);
        assert_eq!(
            (answer.bytes[34], &answer.bytes[38..]),
            (0, &echo[38..]),
            "{payload} bytes"
        );
    }
}

/// Requests that the network left unread, because its guest took no answers, are read when it takes them.
#[test]
fn the_user_network_goes_on_when_its_guest_does() {
    const REQUESTS: usize = 900;
    let peer = SmoltcpPeer::new(PeerOptions::default()).unwrap();
    peer.send(&arp_request()).unwrap();
    receive(&peer);
    let request = Frame::new(ping(&pattern(8)));
    for _ in 0..REQUESTS {
        peer.send(&request).unwrap();
    }
    let mut last = (0, Instant::now());
    until("the network to stop", || {
        let count = peer.counters().frames_to_guest;
        if count != last.0 {
            last = (count, Instant::now());
        }
        (count > 1 && last.1.elapsed() > Duration::from_millis(300)).then_some(())
    });
    for number in 0..REQUESTS {
        assert_eq!(receive(&peer).bytes[34], 0, "reply {number}");
    }
}

/// A guest of the user network asks for the host's address.
fn arp_request() -> Frame {
    let mut request = vec![0xFF; 6];
    request.extend(mac(1));
    request.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    request.extend(mac(1));
    request.extend([10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2]);
    Frame::new(request)
}

/// An echo request with these bytes for the user network.
fn ping(payload: &[u8]) -> Vec<u8> {
    let mut frame = [PeerOptions::default().mac.0, mac(1)].concat();
    let length = u16::try_from(28 + payload.len()).unwrap().to_be_bytes();
    frame.extend([8, 0, 0x45, 0, length[0], length[1], 0, 1, 0, 0, 64, 1, 0, 0]);
    frame.extend([10, 0, 2, 15, 10, 0, 2, 2]);
    frame.extend([8, 0, 0, 0, 1, 2, 3, 4]);
    frame.extend(payload);
    let sum = !host_sim::net::checksum::fold(host_sim::net::checksum::sum(&frame[34..]));
    frame[36..38].copy_from_slice(&sum.to_be_bytes());
    let headers = Headers::parse(&frame).unwrap();
    host_sim::net::checksum::fill_ipv4_header(&mut frame, &headers);
    frame
}
