//! Scripted clients against a painted screen.

mod canvas;
mod viewer;

use self::canvas::Canvas;
use self::viewer::Viewer;
use super::message::RfbError;
use super::session::{Event, Session};
use crate::display::rectangle::Rectangle;
use crate::display::screen::PointerShape;

/// Plain areas, two colours, few colours and noise.
fn pattern(x: u32, y: u32) -> u32 {
    match (x / 32, y / 32) {
        (0, _) => 0x0010_2030,
        (1, _) => {
            if (x ^ y) & 4 == 0 {
                0x00FF_0000
            } else {
                0x0000_00FF
            }
        }
        (2, 0) => (x / 8) * 0x0001_0101,
        _ => x.wrapping_mul(2_654_435_761).wrapping_add(y * 97) & 0x00FF_FFFF,
    }
}

#[test]
fn every_encoding_shows_the_same_picture() {
    for encodings in [&[0][..], &[5, 0], &[0, 5], &[]] {
        let canvas = Canvas::new(171, 77);
        canvas.paint(Rectangle::sized(171, 77), pattern);
        let mut viewer = Viewer::connect(&canvas, encodings);
        assert_eq!(viewer.size, (171, 77));
        assert!(viewer.ask(&canvas, false));
        let expected = if encodings.first() == Some(&5) { 5 } else { 0 };
        assert_eq!(viewer.got, [expected]);
        assert_eq!(viewer.pixels, canvas.pixels(), "{encodings:?}");
    }
}

#[test]
fn incremental_updates_carry_what_has_changed() {
    let canvas = Canvas::new(640, 480);
    let mut viewer = Viewer::connect(&canvas, &[5]);
    assert!(viewer.ask(&canvas, true), "the first time everything");
    assert!(!viewer.ask(&canvas, true), "nothing has changed");
    canvas.paint(Rectangle::new(100, 100, 150, 130), pattern);
    assert!(viewer.take(&canvas), "the request of before");
    assert_eq!(viewer.pixels, canvas.pixels());
    // What lies beyond a request stays due.
    canvas.paint(Rectangle::new(0, 0, 640, 480), pattern);
    assert!(viewer.ask_for(&canvas, true, Rectangle::new(0, 0, 640, 200)));
    assert_ne!(viewer.pixels, canvas.pixels());
    assert!(!viewer.ask_for(&canvas, true, Rectangle::new(0, 0, 640, 200)));
    assert!(viewer.ask(&canvas, true));
    assert_eq!(viewer.pixels, canvas.pixels());
    assert!(viewer.ask(&canvas, false), "asked for all of it");
}

#[test]
fn a_new_mode_is_told_or_cut() {
    let canvas = Canvas::new(640, 480);
    let mut informed = Viewer::connect(&canvas, &[0, -223]);
    let mut ignorant = Viewer::connect(&canvas, &[0]);
    for viewer in [&mut informed, &mut ignorant] {
        assert!(viewer.ask(&canvas, true));
    }
    canvas.resize(800, 400);
    canvas.paint(Rectangle::sized(800, 400), pattern);
    assert!(informed.ask(&canvas, true));
    assert_eq!(informed.size, (800, 400));
    assert!(informed.ask(&canvas, true));
    assert_eq!(informed.pixels, canvas.pixels());
    assert!(ignorant.ask(&canvas, true));
    assert_eq!(ignorant.size, (640, 480));
    for (at, pixel) in ignorant.pixels.iter().enumerate() {
        let (x, y) = (at as u32 % 640, at as u32 / 640);
        let expected = if y < 400 { pattern(x, y) } else { 0 };
        assert_eq!(*pixel, expected, "{x},{y}");
    }
}

#[test]
fn the_pointer_is_sent_to_those_who_draw_it() {
    let canvas = Canvas::new(640, 480);
    let shape = |pixels: Vec<u32>| PointerShape {
        width: pixels.len() as u32,
        height: 1,
        hot_x: 0,
        hot_y: 0,
        pixels,
    };
    let mut viewer = Viewer::connect(&canvas, &[0, -239]);
    assert!(viewer.ask(&canvas, true));
    assert_eq!(viewer.cursor, None, "the guest has set none");
    canvas.set_pointer(shape(vec![0xFF12_3456, 0x0000_0000]));
    assert!(viewer.ask(&canvas, true));
    let (width, height, bytes) = viewer.cursor.take().unwrap();
    assert_eq!((width, height), (2, 1));
    assert_eq!(bytes, [0x56, 0x34, 0x12, 0, 0, 0, 0, 0, 0x80]);
    canvas.set_pointer(shape(vec![0x0101_0100]));
    assert!(viewer.ask(&canvas, true));
    assert_eq!(
        viewer.cursor,
        Some((0, 0, vec![])),
        "the guest draws it itself"
    );
    assert!(!viewer.ask(&canvas, true));
}

#[test]
fn pixels_come_in_the_format_asked_for() {
    let canvas = Canvas::new(640, 480);
    canvas.paint(Rectangle::sized(640, 480), |_, _| 0x00FF_8000);
    let mut viewer = Viewer::connect(&canvas, &[0]);
    let format = [
        0, 0, 0, 0, 16, 16, 1, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0, 0, 0, 0,
    ];
    viewer.send(&canvas, &format);
    viewer.send(&canvas, &[3, 0, 0, 5, 0, 7, 0, 2, 0, 1]);
    viewer.session.refresh(&canvas);
    assert_eq!(
        viewer.session.output(),
        [
            0, 0, 0, 1, 0, 5, 0, 7, 0, 2, 0, 1, 0, 0, 0, 0, 0xFC, 0x00, 0xFC, 0x00
        ]
    );
    let length = viewer.session.output().len();
    viewer.session.sent(length);
    // Of a colour map the client learns before pixels that need it.
    viewer.send(
        &canvas,
        &[0, 0, 0, 0, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    assert_eq!(viewer.session.output()[..6], [1, 0, 0, 0, 1, 0]);
}

#[test]
fn all_versions_shake_hands() {
    let canvas = Canvas::new(640, 480);
    for (version, answer, reply) in [
        (b"RFB 003.003\n", &b"\0\0\0\x01"[..], &b""[..]),
        (b"RFB 003.005\n", b"\0\0\0\x01", b""),
        (b"RFB 003.007\n", b"\x01\x01", b""),
        (b"RFB 003.008\n", b"\x01\x01", b"\0\0\0\0"),
        (b"RFB 003.889\n", b"\x01\x01", b"\0\0\0\0"),
    ] {
        let mut session = Session::new("");
        session.sent(12);
        let mut send = |bytes: &[u8]| {
            session.receive(bytes, &canvas, |_| {}).unwrap();
            let output = session.output().to_vec();
            session.sent(output.len());
            output
        };
        // Byte by byte, as slow networks do.
        let said: Vec<u8> = version.iter().flat_map(|byte| send(&[*byte])).collect();
        assert_eq!(said, answer);
        if answer.len() == 2 {
            assert_eq!(send(&[1]), reply);
        }
        assert_eq!(send(&[0]).len(), 24);
        assert!(session.is_running());
    }
}

#[test]
fn clients_that_speak_something_else_are_refused() {
    let canvas = Canvas::new(640, 480);
    let refuse = |bytes: &[u8]| {
        let mut session = Session::new("");
        let error = session.receive(bytes, &canvas, |_| {}).unwrap_err();
        (error, session.output().to_vec())
    };
    for version in [
        b"GET / HTTP/1",
        b"RFB 004.000\n",
        b"RFB 003.0x8\n",
        b"RFB 003.008 ",
    ] {
        assert_eq!(refuse(version).0, RfbError::Version(*version));
    }
    let (error, output) = refuse(b"RFB 003.008\n\x02");
    assert_eq!(error, RfbError::Security(2));
    assert!(output.ends_with(b"no such security type"));
    assert_eq!(refuse(b"RFB 003.007\n\x10").0, RfbError::Security(16));
    assert_eq!(
        refuse(b"RFB 003.003\n\x01\xFF").0,
        RfbError::UnknownMessage(255)
    );
}

#[test]
fn the_clipboard_is_skipped_and_input_is_handed_over() {
    let canvas = Canvas::new(640, 480);
    let mut viewer = Viewer::connect(&canvas, &[0]);
    let mut bytes = vec![6, 0, 0, 0, 0, 0, 0x30, 0];
    bytes.extend(vec![0xFF; 0x3000]);
    bytes.extend([4, 1, 0, 0, 0, 0, 0, 0x61, 5, 2, 0, 9, 0, 8]);
    for chunk in bytes.chunks(1000) {
        let mut events = Vec::new();
        viewer
            .session
            .receive(chunk, &canvas, |event| events.push(event))
            .unwrap();
        if chunk.len() < 1000 {
            let key = Event::Key {
                keysym: 0x61,
                pressed: true,
            };
            let pointer = Event::Pointer {
                buttons: 2,
                x: 9,
                y: 8,
            };
            assert_eq!(events, [key, pointer]);
        }
    }
}

#[test]
fn what_a_client_does_not_take_is_not_replaced() {
    let canvas = Canvas::new(640, 480);
    let mut viewer = Viewer::connect(&canvas, &[0]);
    viewer.send(&canvas, &[3, 0, 0, 0, 0, 0, 2, 128, 1, 224]);
    viewer.session.refresh(&canvas);
    let length = viewer.session.output().len();
    assert_eq!(length, 4 + 12 + 640 * 480 * 4);
    for _ in 0..10 {
        viewer.send(&canvas, &[3, 0, 0, 0, 0, 0, 2, 128, 1, 224]);
        viewer.session.refresh(&canvas);
        assert_eq!(viewer.session.output().len(), length, "memory is bounded");
    }
}

#[test]
fn a_scan_finds_what_the_guest_does_not_tell() {
    let canvas = Canvas::new(200, 130);
    let mut scan = super::scan::Scan::default();
    assert_eq!(scan.changes(&canvas).unwrap().len(), 12);
    assert_eq!(scan.changes(&canvas).unwrap(), []);
    canvas.paint(Rectangle::new(199, 129, 200, 130), |_, _| 1);
    assert_eq!(
        scan.changes(&canvas).unwrap(),
        [Rectangle::new(192, 128, 200, 130)]
    );
    canvas.resize(130, 200);
    assert_eq!(scan.changes(&canvas).unwrap().len(), 12);
}
