//! Keyboard and mouse against a scripted guest.

mod display_support;

use display_support::{Guest, Sent, request};
use host_sim::display::scancode::{Prefix, Scancode};
use host_sim::display::screen::{InputRefused, Pointing};
use host_sim::vmbus::vsp::{ChannelServices, NextPoll, Vsp};
use host_sim::vsp::keyboard::{Keyboard, KeyboardHandle, TypeError};
use host_sim::vsp::mouse::{Button, Mouse, MouseHandle};
use vmbus_core::class;
use vmbus_core::packet::OutgoingKind;
use vsc_input::wire::hid::{PointerReport, REPORT_DESCRIPTOR};
use vsc_input::wire::keyboard::{self, KeyEvent, KeyFlags, Leds};
use vsc_input::wire::mouse::{self, DeviceInfo};
use zerocopy::FromBytes;

const REQUEST: [u8; 8] = [1, 0, 0, 0, 0, 0, 1, 0];

fn keyboard() -> (Keyboard, KeyboardHandle, Guest) {
    let (mut device, handle) = Keyboard::new();
    let guest = Guest::open(&mut device, 1);
    (device, handle, guest)
}

fn ready_keyboard() -> (Keyboard, KeyboardHandle, Guest) {
    let (device, handle, mut guest) = keyboard();
    guest.send_raw(&REQUEST);
    assert_eq!(guest.raw_answers(), [[2, 0, 0, 0, 1, 0, 0, 0]]);
    (device, handle, guest)
}

/// Key events as bytes of a set-1 keyboard.
fn bytes(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for payload in payloads {
        let Ok(keyboard::HostMessage::Event(KeyEvent { make_code, flags })) =
            keyboard::HostMessage::parse(payload)
        else {
            panic!("{payload:x?} is no event");
        };
        assert!((1..=0x7F).contains(&make_code));
        if flags.contains(KeyFlags::E0) {
            bytes.push(0xE0);
        }
        if flags.contains(KeyFlags::E1) {
            bytes.push(0xE1);
        }
        bytes.push(
            make_code as u8
                | if flags.contains(KeyFlags::BREAK) {
                    0x80
                } else {
                    0
                },
        );
    }
    bytes
}

fn key(code: u8) -> Scancode {
    Scancode::new(code, Prefix::None).unwrap()
}

// KH1
#[test]
fn keyboard_versions() {
    let (device, handle, mut guest) = keyboard();
    let offer = device.offer();
    assert_eq!(offer.interface, class::KEYBOARD);
    assert_eq!((offer.flags, offer.mmio_megabytes), (0, 0));
    for version in [0u32, 1, 0x0002_0000, 0x0001_0001, u32::MAX] {
        let mut request = [1, 0, 0, 0, 0, 0, 0, 0];
        request[4..].copy_from_slice(&version.to_le_bytes());
        guest.send_raw(&request);
        assert_eq!(guest.raw_answers(), [[2, 0, 0, 0, 0, 0, 0, 0]]);
        assert!(!handle.status().is_ready);
    }
    guest.send_raw(&REQUEST);
    assert_eq!(guest.raw_answers(), [[2, 0, 0, 0, 1, 0, 0, 0]]);
    assert!(handle.status().is_ready);
    let (mut device, _) = Keyboard::new();
    assert!(device.open(request(1), ChannelServices::inert()).is_err());
}

#[test]
fn keys_arrive_exactly_as_sent() {
    let (_device, handle, mut guest) = ready_keyboard();
    guest.take_wakes();
    let right_control = Scancode::new(0x1D, Prefix::E0).unwrap();
    for (scancode, expected) in [
        (key(0x1E), &[0x1E, 0x9E][..]),
        (right_control, &[0xE0, 0x1D, 0xE0, 0x9D]),
        (Scancode::PAUSE, &[0xE1, 0x1D, 0x45, 0xE1, 0x9D, 0xC5]),
        (key(0x7F), &[0x7F, 0xFF]),
    ] {
        handle.key(scancode, true).unwrap();
        handle.key(scancode, false).unwrap();
        assert!(guest.take_wakes() > 0, "the channel is told");
        assert_eq!(bytes(&guest.raw_answers()), expected);
    }
    // The whole event, byte by byte.
    handle.key(right_control, true).unwrap();
    assert_eq!(
        guest.raw_answers(),
        [[3, 0, 0, 0, 0x1D, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]]
    );
    handle.key(right_control, false).unwrap();
    assert_eq!(bytes(&guest.raw_answers()), [0xE0, 0x9D]);
    let keys = [Scancode::LEFT_CONTROL, Scancode::LEFT_ALT, Scancode::DELETE];
    handle.chord(&keys).unwrap();
    assert_eq!(
        bytes(&guest.raw_answers()),
        [0x1D, 0x38, 0xE0, 0x53, 0xE0, 0xD3, 0xB8, 0x9D]
    );
}

#[test]
fn text_is_typed_on_a_us_keyboard() {
    let (_device, handle, mut guest) = ready_keyboard();
    handle.type_text("aB\n").unwrap();
    assert_eq!(
        bytes(&guest.raw_answers()),
        [0x1E, 0x9E, 0x2A, 0x30, 0xB0, 0xAA, 0x1C, 0x9C]
    );
    assert_eq!(handle.type_text("a€"), Err(TypeError::NoKey('€')));
    assert!(guest.raw_answers().is_empty(), "nothing of it was typed");
    let long = "x".repeat(8193);
    assert_eq!(
        handle.type_text(&long),
        Err(TypeError::TooLong { strokes: 16386 })
    );
    // More than any ring holds: it goes on as the guest reads.
    handle.type_text(&long[..8192]).unwrap();
    assert_eq!(
        handle.type_text("a"),
        Err(TypeError::Refused(InputRefused::Full))
    );
    let mut got = Vec::new();
    while got.len() < 16384 {
        let more = bytes(&guest.raw_answers());
        assert!(!more.is_empty());
        got.extend(more);
    }
    assert_eq!(got, [0x2D, 0xAD].repeat(8192));
    handle.type_unicode("ü").unwrap();
    assert_eq!(
        guest.raw_answers(),
        [
            [3, 0, 0, 0, 0xFC, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            [3, 0, 0, 0, 0xFC, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]
        ]
    );
}

// KH4, KH5, MH5
#[test]
fn keyboard_lights_completions_and_silence() {
    let (mut device, handle, mut guest) = keyboard();
    assert_eq!(handle.key(key(1), true), Err(InputRefused::NotReady));
    assert_eq!(
        handle.type_text("a"),
        Err(TypeError::Refused(InputRefused::NotReady))
    );
    assert!(guest.raw_answers().is_empty(), "no event before acceptance");
    assert!(guest.put(OutgoingKind::InBand, &REQUEST, Some(77)));
    guest.work();
    let sent = guest.read();
    assert!(sent.contains(&Sent::Completion(77)));
    assert_eq!(sent.len(), 2);
    // Completions of the guest's are nobody's.
    assert!(guest.put(OutgoingKind::Completion, &REQUEST, None));
    assert!(guest.raw_answers().is_empty());
    for leds in [0u16, 7, u16::MAX] {
        let [low, high] = leds.to_le_bytes();
        guest.send_raw(&[4, 0, 0, 0, low, high, 0xAA, 0x55]);
        assert!(guest.raw_answers().is_empty());
        assert_eq!(handle.leds(), Leds::from_bits_retain(leds));
    }
    handle.key(key(1), true).unwrap();
    guest.close();
    assert!(!handle.status().is_open);
    assert_eq!(handle.key(key(1), true), Err(InputRefused::NotReady));
    handle.release_all();
    let mut guest = Guest::open(&mut device, 9);
    guest.send_raw(&REQUEST);
    assert_eq!(guest.raw_answers().len(), 1, "the old press is forgotten");
}

#[test]
fn fault_68_keyboard_survives_any_guest() {
    let (_device, handle, mut guest) = ready_keyboard();
    for payload in [
        &[][..],
        &[3, 0, 0, 0, 1, 2, 3, 4],
        &[77, 0, 0, 0, 0, 0, 0, 0],
        &[2, 0, 0, 0, 1, 0, 0, 0],
        &[0xFF; 8],
        &[0xFF; 3000],
    ] {
        guest.send_raw(payload);
        assert!(guest.raw_answers().is_empty());
    }
    assert_eq!(handle.status().bad_messages, 6);
    handle.key(key(0x2A), true).unwrap();
    guest.raw_answers();
    // A guest that doesn't read: presses are dropped, the release arrives.
    let refused = (0..2000)
        .filter(|_| {
            let refused = handle.key(key(0x10), true) == Err(InputRefused::Full);
            guest.work();
            refused
        })
        .count();
    assert!(refused > 1000);
    assert_eq!(handle.status().dropped, refused as u64);
    assert!(handle.status().waiting <= 256);
    handle.release_all();
    let mut events = Vec::new();
    loop {
        let more = bytes(&guest.raw_answers());
        if more.is_empty() {
            break;
        }
        events.extend(more);
    }
    assert_eq!(events[events.len() - 2..], [0x90, 0xAA]);
    assert_eq!(handle.status().held, 0);
}

#[test]
fn a_guest_that_talks_nonsense_is_left_alone_for_a_while() {
    let (_device, handle, mut guest) = ready_keyboard();
    let mut paused = false;
    for _ in 0..1200 {
        assert!(guest.put(OutgoingKind::InBand, &[9, 0, 0, 0, 0, 0, 0, 0], None));
        match guest.work() {
            NextPoll::At(time) => {
                assert!(time > guest.now);
                paused = true;
                break;
            }
            next => assert_eq!(next, NextPoll::OnSignal),
        }
    }
    assert!(paused);
    assert_eq!(handle.status().bad_messages, 1000);
    guest.now += 10_000_000;
    guest.send_raw(&REQUEST);
    assert_eq!(
        guest.raw_answers().len(),
        1,
        "in the next second it is heard"
    );
}

fn mouse() -> (Mouse, MouseHandle, Guest) {
    let (mut device, handle) = Mouse::new();
    let guest = Guest::open(&mut device, 1);
    (device, handle, guest)
}

fn emitted(message: mouse::GuestMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.emit(&mut bytes);
    bytes
}

fn ready_mouse() -> (Mouse, MouseHandle, Guest) {
    let (device, handle, mut guest) = mouse();
    guest.send(&emitted(mouse::GuestMessage::ProtocolRequest(
        mouse::VERSION,
    )));
    assert_eq!(guest.answers().len(), 2);
    guest.send(&emitted(mouse::GuestMessage::DeviceInfoAck));
    assert!(guest.answers().is_empty());
    assert!(handle.status().is_ready);
    (device, handle, guest)
}

fn reports(guest: &mut Guest) -> Vec<(u8, u16, u16, i16)> {
    guest.now += 100_000;
    guest
        .answers()
        .iter()
        .map(|message| {
            assert_eq!(message.len(), 15);
            let Ok(mouse::HostMessage::InputReport(report)) = mouse::HostMessage::parse(message)
            else {
                panic!("{message:x?} is no report");
            };
            let report = PointerReport::read_from_bytes(report).unwrap();
            let (x, y) = (report.x.get(), report.y.get());
            (report.buttons, x, y, report.wheel.get())
        })
        .collect()
}

// MH1, MH2, MH3
#[test]
fn mouse_negotiation() {
    let (device, handle, mut guest) = mouse();
    assert_eq!(device.offer().interface, class::MOUSE);
    assert_eq!(device.offer().flags, 0x10);
    for version in [0x0BAD_F00D, 2, 0x0003_0000] {
        guest.send(&emitted(mouse::GuestMessage::ProtocolRequest(version)));
        let answers = guest.answers();
        let response = mouse::HostMessage::ProtocolResponse {
            version,
            approved: false,
        };
        assert_eq!(answers.len(), 1);
        assert_eq!(mouse::HostMessage::parse(&answers[0]), Ok(response));
    }
    // An acknowledgement of nothing.
    guest.send(&emitted(mouse::GuestMessage::DeviceInfoAck));
    assert!(guest.answers().is_empty());
    assert_eq!(handle.status().bad_messages, 1);
    guest.send(&emitted(mouse::GuestMessage::ProtocolRequest(
        mouse::VERSION,
    )));
    let answers = guest.answers();
    assert_eq!(answers[0], [1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 2, 0, 1]);
    assert_eq!(
        mouse::HostMessage::parse(&answers[1]),
        Ok(mouse::HostMessage::DeviceInfo(DeviceInfo::HYPER_V))
    );
    assert_eq!(answers[1][49..116], REPORT_DESCRIPTOR);
    assert_eq!(handle.move_to(1, 1), Err(InputRefused::NotReady));
    guest.send(&emitted(mouse::GuestMessage::DeviceInfoAck));
    assert!(guest.answers().is_empty(), "earlier input is not replayed");
    handle.move_to(3, 4).unwrap();
    assert_eq!(reports(&mut guest), [(0, 3, 4, 0)]);
    // A driver that starts anew.
    guest.send(&emitted(mouse::GuestMessage::ProtocolRequest(
        mouse::VERSION,
    )));
    assert_eq!(guest.answers().len(), 2);
    assert_eq!(handle.move_to(1, 1), Err(InputRefused::NotReady));
    let (mut device, _) = Mouse::new();
    assert!(device.open(request(2), ChannelServices::inert()).is_err());
}

#[test]
fn the_pointer_arrives_exactly_as_sent() {
    let (_device, handle, mut guest) = ready_mouse();
    guest.take_wakes();
    for (x, y) in [(0, 0), (1, 32767), (32767, 1), (12345, 23456)] {
        handle.move_to(x, y).unwrap();
        assert!(guest.take_wakes() > 0);
        assert_eq!(reports(&mut guest), [(0, x, y, 0)]);
    }
    handle.move_to_pixel((1023, 384), (1024, 769)).unwrap();
    assert_eq!(reports(&mut guest), [(0, 32767, 16384, 0)]);
    for (button, bit) in [
        (Button::Left, 1),
        (Button::Right, 2),
        (Button::Middle, 4),
        (Button::Fourth, 8),
        (Button::Fifth, 16),
    ] {
        handle.button(button, true).unwrap();
        handle.button(button, false).unwrap();
        let at = (32767, 16384);
        assert_eq!(
            reports(&mut guest),
            [(bit, at.0, at.1, 0), (0, at.0, at.1, 0)]
        );
    }
    handle.wheel(1).unwrap();
    handle.wheel(-3).unwrap();
    assert_eq!(reports(&mut guest), [(0, 32767, 16384, -2)]);
    handle.move_to(5, 6).unwrap();
    // A report that only moves, right after another one, waits for its time.
    guest.send(&emitted(mouse::GuestMessage::DeviceInfoAck));
    assert!(matches!(guest.work(), NextPoll::At(time) if time > guest.now));
    assert_eq!(reports(&mut guest), [(0, 5, 6, 0)]);
}

#[test]
fn fault_69_coordinates_beyond_the_screen_mean_its_edge() {
    let (_device, handle, mut guest) = ready_mouse();
    handle.move_to(u16::MAX, 32768).unwrap();
    assert_eq!(reports(&mut guest), [(0, 32767, 32767, 0)]);
    handle.move_to_pixel((u32::MAX, 9), (800, 0)).unwrap();
    assert_eq!(reports(&mut guest), [(0, 32767, 0, 0)]);
    handle.point(0, 0, 0xFF, i16::MIN).unwrap();
    assert_eq!(reports(&mut guest), [(0x1F, 0, 0, i16::MIN)]);
}

#[test]
fn fault_69_mouse_survives_any_guest() {
    let (_device, handle, mut guest) = ready_mouse();
    for message in [
        &[][..],
        &[4, 0, 0, 0, 1, 0, 0, 0, 1],
        &[0, 0, 0, 0],
        &[0xFF; 600],
    ] {
        guest.send(message);
        assert!(guest.answers().is_empty());
    }
    // Frames that are none.
    for payload in [
        &[][..],
        &[1, 0, 0, 0],
        &[2, 0, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 0, 0xFF, 0, 0, 0],
    ] {
        guest.send_raw(payload);
        assert!(guest.answers().is_empty());
    }
    assert_eq!(handle.status().bad_messages, 8);
    // A guest that doesn't read: memory is bounded and the release arrives.
    for x in 0..3000 {
        handle.button(Button::Left, x % 2 == 0).unwrap();
        handle.move_to(x, x).unwrap();
        guest.now += 100_000;
        guest.work();
    }
    let mut last = None;
    while let Some(report) = reports(&mut guest).last() {
        last = Some(*report);
    }
    assert_eq!(last, Some((0, 2999, 2999, 0)));
}
