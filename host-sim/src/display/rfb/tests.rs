//! Scripted clients against a painted screen.

use std::sync::{Arc, Mutex};

use super::message::RfbError;
use super::session::{Event, Session};
use crate::display::damage::DamageLog;
use crate::display::rectangle::Rectangle;
use crate::display::screen::{Damage, NoPicture, PointerShape, Screen, ScreenState};

/// A screen in private memory.
pub(super) struct Canvas {
    state: Mutex<CanvasState>,
}

struct CanvasState {
    screen: ScreenState,
    damage: DamageLog,
    pixels: Vec<u32>,
    pointer: Option<Arc<PointerShape>>,
    viewers: i32,
}

impl Canvas {
    fn new(width: u32, height: u32) -> Self {
        let canvas = Self {
            state: Mutex::new(CanvasState {
                screen: ScreenState {
                    reports_damage: true,
                    ..ScreenState::default()
                },
                damage: DamageLog::default(),
                pixels: Vec::new(),
                pointer: None,
                viewers: 0,
            }),
        };
        canvas.resize(width, height);
        canvas
    }

    fn resize(&self, width: u32, height: u32) {
        let mut state = self.state.lock().unwrap();
        state.screen.size = Some((width, height));
        state.screen.picture_sequence += 1;
        state.pixels = vec![0; (width * height) as usize];
        state.damage.add(Rectangle::sized(width, height));
    }

    fn paint(&self, rectangle: Rectangle, colour: impl Fn(u32, u32) -> u32) {
        let mut state = self.state.lock().unwrap();
        let width = state.screen.size.unwrap().0;
        for y in rectangle.top..rectangle.bottom {
            for x in rectangle.left..rectangle.right {
                state.pixels[(y * width + x) as usize] = colour(x, y);
            }
        }
        state.damage.add(rectangle);
    }

    fn set_pointer(&self, shape: PointerShape) {
        let mut state = self.state.lock().unwrap();
        state.pointer = Some(Arc::new(shape));
        state.screen.pointer_sequence += 1;
    }

    fn pixels(&self) -> Vec<u32> {
        self.state.lock().unwrap().pixels.clone()
    }
}

impl Screen for Canvas {
    fn state(&self) -> ScreenState {
        let state = self.state.lock().unwrap();
        ScreenState {
            damage_sequence: state.damage.sequence(),
            ..state.screen
        }
    }

    fn damage_since(&self, sequence: u64) -> Damage {
        let state = self.state.lock().unwrap();
        let (width, height) = state.screen.size.unwrap_or((1, 1));
        Damage {
            sequence: state.damage.sequence(),
            rectangles: state
                .damage
                .since(sequence)
                .unwrap_or_else(|| vec![Rectangle::sized(width, height)]),
        }
    }

    fn read(&self, rectangle: Rectangle, into: &mut Vec<u32>) -> Result<(), NoPicture> {
        into.clear();
        let state = self.state.lock().unwrap();
        let (width, height) = state.screen.size.ok_or(NoPicture)?;
        if !Rectangle::sized(width, height).contains(&rectangle) {
            return Err(NoPicture);
        }
        for y in rectangle.top..rectangle.bottom {
            let start = (y * width + rectangle.left) as usize;
            into.extend(&state.pixels[start..start + rectangle.width() as usize]);
        }
        Ok(())
    }

    fn pointer(&self) -> Option<Arc<PointerShape>> {
        self.state.lock().unwrap().pointer.clone()
    }

    fn attach(&self) {
        self.state.lock().unwrap().viewers += 1;
    }

    fn detach(&self) {
        self.state.lock().unwrap().viewers -= 1;
    }
}

/// A client that has 32-bit pixels and paints what it is sent.
struct Viewer {
    session: Session,
    size: (u32, u32),
    pixels: Vec<u32>,
    /// Encodings of the rectangles got, in order.
    got: Vec<i32>,
    cursor: Option<(u32, u32, Vec<u8>)>,
}

impl Viewer {
    fn connect(canvas: &Canvas, encodings: &[i32]) -> Self {
        let mut session = Session::new("a screen");
        let mut events = Vec::new();
        let handshake = b"RFB 003.008\n\x01\x01";
        session
            .receive(handshake, canvas, |event| events.push(event))
            .unwrap();
        assert_eq!(events, [Event::Started]);
        let output = session.output().to_vec();
        session.sent(output.len());
        let start = b"RFB 003.008\n\x01\x01\0\0\0\0";
        assert_eq!(&output[..start.len()], start);
        let init = &output[start.len()..];
        let u16_at = |at: usize| u32::from(u16::from_be_bytes([init[at], init[at + 1]]));
        let size = (u16_at(0), u16_at(2));
        assert_eq!(
            &init[4..20],
            [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]
        );
        assert_eq!(&init[20..], b"\0\0\0\x08a screen");
        let mut viewer = Self {
            session,
            size,
            pixels: vec![0xFFFF_FFFF; (size.0 * size.1) as usize],
            got: Vec::new(),
            cursor: None,
        };
        let mut message = vec![2, 0, 0, encodings.len() as u8];
        message.extend(encodings.iter().flat_map(|encoding| encoding.to_be_bytes()));
        viewer.send(canvas, &message);
        viewer
    }

    fn send(&mut self, canvas: &Canvas, bytes: &[u8]) {
        self.session.receive(bytes, canvas, |_| {}).unwrap();
    }

    /// Asks for the whole screen and takes what comes; `false` if nothing does.
    fn ask(&mut self, canvas: &Canvas, incremental: bool) -> bool {
        let (width, height) = self.size;
        self.ask_for(canvas, incremental, Rectangle::sized(width, height))
    }

    fn ask_for(&mut self, canvas: &Canvas, incremental: bool, wanted: Rectangle) -> bool {
        let mut message = vec![3, u8::from(incremental)];
        for value in [wanted.left, wanted.top, wanted.width(), wanted.height()] {
            message.extend((value as u16).to_be_bytes());
        }
        self.send(canvas, &message);
        self.take(canvas)
    }

    fn take(&mut self, canvas: &Canvas) -> bool {
        self.session.refresh(canvas);
        let output = self.session.output().to_vec();
        self.session.sent(output.len());
        if output.is_empty() {
            return false;
        }
        let mut reader = Reader(&output);
        assert_eq!(reader.u16(), 0, "an update");
        for _ in 0..reader.u16() {
            let [x, y, width, height] = [(); 4].map(|()| u32::from(reader.u16()));
            let encoding = reader.u32() as i32;
            self.got.push(encoding);
            match encoding {
                0 => {
                    let pixels: Vec<_> = (0..width * height).map(|_| reader.pixel()).collect();
                    self.paint((x, y, width, height), |at| pixels[at as usize]);
                }
                5 => self.hextile(&mut reader, (x, y, width, height)),
                -223 => {
                    self.size = (width, height);
                    self.pixels = vec![0xFFFF_FFFF; (width * height) as usize];
                }
                -239 => {
                    let length = width * height * 4 + width.div_ceil(8) * height;
                    self.cursor = Some((width, height, reader.take(length as usize).to_vec()));
                }
                other => panic!("encoding {other}"),
            }
        }
        assert!(reader.0.is_empty(), "{} bytes too many", reader.0.len());
        true
    }

    fn paint(&mut self, area: (u32, u32, u32, u32), pixel: impl Fn(u32) -> u32) {
        let (x, y, width, height) = area;
        for at in 0..width * height {
            let to = (y + at / width) * self.size.0 + x + at % width;
            self.pixels[to as usize] = pixel(at);
        }
    }

    fn hextile(&mut self, reader: &mut Reader<'_>, area: (u32, u32, u32, u32)) {
        let (x, y, width, height) = area;
        let (mut background, mut foreground) = (0xDEAD_BEEF, 0xDEAD_BEEF);
        for top in (0..height).step_by(16) {
            for left in (0..width).step_by(16) {
                let tile = (
                    x + left,
                    y + top,
                    16.min(width - left),
                    16.min(height - top),
                );
                let flags = reader.u8();
                if flags & 1 != 0 {
                    let pixels: Vec<_> = (0..tile.2 * tile.3).map(|_| reader.pixel()).collect();
                    self.paint(tile, |at| pixels[at as usize]);
                    continue;
                }
                if flags & 2 != 0 {
                    background = reader.pixel();
                }
                if flags & 4 != 0 {
                    foreground = reader.pixel();
                }
                self.paint(tile, |_| background);
                let count = if flags & 8 != 0 { reader.u8() } else { 0 };
                for _ in 0..count {
                    let colour = if flags & 16 != 0 {
                        reader.pixel()
                    } else {
                        foreground
                    };
                    let (at, size) = (u32::from(reader.u8()), u32::from(reader.u8()));
                    let part = (
                        tile.0 + (at >> 4),
                        tile.1 + (at & 15),
                        (size >> 4) + 1,
                        (size & 15) + 1,
                    );
                    self.paint(part, |_| colour);
                }
            }
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, count: usize) -> &[u8] {
        let (head, rest) = self.0.split_at(count);
        self.0 = rest;
        head
    }

    fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    fn pixel(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }
}

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
