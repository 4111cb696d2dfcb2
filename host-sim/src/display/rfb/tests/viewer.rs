//! A client that shows what it is sent.

use super::canvas::Canvas;
use crate::display::rectangle::Rectangle;
use crate::display::rfb::session::{Event, Session};

/// A client that has 32-bit pixels and paints what it is sent.
pub(super) struct Viewer {
    pub(super) session: Session,
    pub(super) size: (u32, u32),
    pub(super) pixels: Vec<u32>,
    /// Encodings of the rectangles got, in order.
    pub(super) got: Vec<i32>,
    pub(super) cursor: Option<(u32, u32, Vec<u8>)>,
}

impl Viewer {
    pub(super) fn connect(canvas: &Canvas, encodings: &[i32]) -> Self {
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

    pub(super) fn send(&mut self, canvas: &Canvas, bytes: &[u8]) {
        self.session.receive(bytes, canvas, |_| {}).unwrap();
    }

    /// Asks for the whole screen and takes what comes; `false` if nothing does.
    pub(super) fn ask(&mut self, canvas: &Canvas, incremental: bool) -> bool {
        let (width, height) = self.size;
        self.ask_for(canvas, incremental, Rectangle::sized(width, height))
    }

    pub(super) fn ask_for(
        &mut self,
        canvas: &Canvas,
        incremental: bool,
        wanted: Rectangle,
    ) -> bool {
        let mut message = vec![3, u8::from(incremental)];
        for value in [wanted.left, wanted.top, wanted.width(), wanted.height()] {
            message.extend((value as u16).to_be_bytes());
        }
        self.send(canvas, &message);
        self.take(canvas)
    }

    pub(super) fn take(&mut self, canvas: &Canvas) -> bool {
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
