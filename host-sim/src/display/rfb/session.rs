//! One client: bytes in, events and bytes out. No socket, no clock.

use super::encode::Update;
use super::message::{Encodings, MAX_MESSAGE, Message, RfbError};
use super::pixel_format::PixelFormat;
use crate::display::rectangle::{Rectangle, Region};
use crate::display::screen::{Screen, ScreenState};

/// What a client is shown while the guest shows nothing.
const NO_PICTURE: (u32, u32) = (640, 480);
/// The version that we speak.
const VERSION: &[u8; 12] = b"RFB 003.008\n";
/// The only type of security: none.
const SECURITY_NONE: u8 = 1;
/// Bytes that wait for being parsed, at most.
const MAX_INPUT: usize = 2 * MAX_MESSAGE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Version,
    Security { minor: u8 },
    Init,
    Running,
}

/// What a client does to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It has said that it wants to look.
    Started,
    /// A key, by X11 keysym.
    Key {
        /// The key's name.
        keysym: u32,
        /// Pressed or released.
        pressed: bool,
    },
    /// The pointer, in pixels of [`Session::size`].
    Pointer {
        /// Bit 0 left, 1 middle, 2 right, 3 and 4 the wheel.
        buttons: u8,
        /// Column.
        x: u16,
        /// Row.
        y: u16,
    },
}

#[derive(Clone, Copy, Debug)]
struct Request {
    incremental: bool,
    rectangle: Rectangle,
}

/// A client's session.
#[derive(Debug)]
pub struct Session {
    name: String,
    phase: Phase,
    input: Vec<u8>,
    /// Bytes of input that nobody wants.
    skip: u32,
    output: Vec<u8>,
    /// Bytes at the beginning of the output that are sent already.
    sent: usize,
    format: PixelFormat,
    encodings: Encodings,
    /// The size that the client knows.
    size: (u32, u32),
    /// What the client hasn't got yet.
    pending: Region,
    request: Option<Request>,
    /// What of the screen's history the client knows.
    seen: ScreenState,
    /// The pointer has to be sent whether or not it has changed.
    cursor_due: bool,
}

impl Session {
    /// A client that has just connected. `name` is what it shows as the screen's title, up to 255 bytes of it.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut name = name.to_owned();
        while name.len() > 255 {
            name.pop();
        }
        Self {
            name,
            phase: Phase::Version,
            input: Vec::new(),
            skip: 0,
            output: VERSION.to_vec(),
            sent: 0,
            format: PixelFormat::NATIVE,
            encodings: Encodings::default(),
            size: NO_PICTURE,
            pending: Region::new(),
            request: None,
            seen: ScreenState::default(),
            cursor_due: false,
        }
    }

    /// Width and height in pixels as the client knows them.
    #[must_use]
    pub const fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Whether the handshake is over.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether the client waits for an update and there is room for one.
    #[must_use]
    pub fn wants_update(&self) -> bool {
        self.request.is_some() && self.output().is_empty()
    }

    /// Bytes for the client.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// So many bytes of the output are sent.
    pub fn sent(&mut self, count: usize) {
        // Moved to the front only when it is all gone: an update has many megabytes.
        self.sent = self.output.len().min(self.sent + count);
        if self.sent == self.output.len() {
            self.output.clear();
            self.sent = 0;
        }
    }

    /// Takes bytes from the client and hands over what they mean. While answers to earlier ones wait for being
    /// sent, don't read more from it.
    ///
    /// # Errors
    /// The client has to be disconnected; what is in [`output`](Self::output) may be sent first.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        screen: &dyn Screen,
        mut events: impl FnMut(Event),
    ) -> Result<(), RfbError> {
        for part in bytes.chunks(MAX_MESSAGE) {
            if self.input.len() + part.len() > MAX_INPUT {
                return Err(RfbError::TooMuchInput);
            }
            self.input.extend_from_slice(part);
            let mut at = 0;
            while let Some(count) = self.step(at, screen, &mut events)? {
                at += count;
            }
            self.input.drain(..at);
        }
        Ok(())
    }

    /// Takes one message from position `at` on; its length, or `None` if it isn't complete.
    fn step(
        &mut self,
        at: usize,
        screen: &dyn Screen,
        events: &mut impl FnMut(Event),
    ) -> Result<Option<usize>, RfbError> {
        let rest = &self.input[at..];
        match self.phase {
            Phase::Version => {
                let Some(&version) = rest.first_chunk::<12>() else {
                    return Ok(None);
                };
                self.version(version)?;
                Ok(Some(12))
            }
            Phase::Security { minor } => {
                let Some(&chosen) = rest.first() else {
                    return Ok(None);
                };
                self.security(minor, chosen)?;
                Ok(Some(1))
            }
            Phase::Init => {
                // Whether others may look as well: they always may.
                if rest.is_empty() {
                    return Ok(None);
                }
                self.init(screen);
                events(Event::Started);
                Ok(Some(1))
            }
            Phase::Running => {
                if self.skip > 0 {
                    // Both are at most a few KiB or a MiB.
                    let count = rest.len().min(self.skip as usize);
                    self.skip -= count as u32;
                    return Ok((count > 0).then_some(count));
                }
                let Some((message, length)) = Message::parse(rest)? else {
                    return Ok(None);
                };
                self.message(message, events);
                Ok(Some(length))
            }
        }
    }

    fn version(&mut self, version: [u8; 12]) -> Result<(), RfbError> {
        let refuse = RfbError::Version(version);
        let digits = |range: std::ops::Range<usize>| {
            version[range].iter().try_fold(0u32, |number, byte| {
                byte.is_ascii_digit()
                    .then(|| number * 10 + u32::from(byte - b'0'))
            })
        };
        if &version[..4] != b"RFB " || version[7] != b'.' || version[11] != b'\n' {
            return Err(refuse);
        }
        let (Some(3), Some(minor)) = (digits(4..7), digits(8..11)) else {
            return Err(refuse);
        };
        // Versions that never existed count as 3.3, those after 3.8 as 3.8.
        let minor = match minor {
            7 => 7,
            8.. => 8,
            _ => 3,
        };
        if minor == 3 {
            self.output.extend(u32::from(SECURITY_NONE).to_be_bytes());
            self.phase = Phase::Init;
        } else {
            self.output.extend([1, SECURITY_NONE]);
            self.phase = Phase::Security { minor };
        }
        Ok(())
    }

    fn security(&mut self, minor: u8, chosen: u8) -> Result<(), RfbError> {
        let is_sound = chosen == SECURITY_NONE;
        if minor == 8 {
            self.output.extend(u32::from(!is_sound).to_be_bytes());
            if !is_sound {
                let reason = b"no such security type";
                self.output.extend((reason.len() as u32).to_be_bytes());
                self.output.extend(reason);
            }
        }
        if !is_sound {
            return Err(RfbError::Security(chosen));
        }
        self.phase = Phase::Init;
        Ok(())
    }

    fn init(&mut self, screen: &dyn Screen) {
        let state = screen.state();
        self.size = state.size.unwrap_or(NO_PICTURE);
        self.seen = state;
        self.cursor_due = true;
        self.pending.add(self.whole());
        let (width, height) = self.size;
        self.output.extend((width as u16).to_be_bytes());
        self.output.extend((height as u16).to_be_bytes());
        self.output.extend(self.format.emit());
        self.output.extend((self.name.len() as u32).to_be_bytes());
        self.output.extend(self.name.as_bytes());
        self.phase = Phase::Running;
    }

    fn whole(&self) -> Rectangle {
        Rectangle::sized(self.size.0, self.size.1)
    }

    fn message(&mut self, message: Message, events: &mut impl FnMut(Event)) {
        match message {
            Message::SetPixelFormat(format) => {
                self.format = format;
                // Only one that changes something: a client must not fill our memory by repeating itself.
                if let Some(map) = format.colour_map()
                    && self.output.len() < MAX_INPUT
                {
                    self.output.extend(map);
                }
                self.pending.add(self.whole());
                self.cursor_due = true;
            }
            Message::SetEncodings(encodings) => {
                self.cursor_due |= encodings.cursor && !self.encodings.cursor;
                self.encodings = encodings;
            }
            Message::UpdateRequest {
                incremental,
                rectangle,
            } => {
                let old = self.request.take();
                let rectangle = match &old {
                    Some(old) => old.rectangle.bounding(&rectangle),
                    None => rectangle,
                };
                self.request = Some(Request {
                    incremental: incremental && old.is_none_or(|old| old.incremental),
                    rectangle,
                });
            }
            Message::Key { pressed, keysym } => events(Event::Key { keysym, pressed }),
            Message::Pointer { buttons, x, y } => events(Event::Pointer { buttons, x, y }),
            Message::CutText { length } => self.skip = length,
        }
    }

    /// Notes changes that the screen itself doesn't tell.
    pub fn add_damage(&mut self, rectangles: &[Rectangle]) {
        for rectangle in rectangles {
            self.pending.add(*rectangle);
        }
    }

    /// Sends the client an update if it waits for one and something has changed.
    pub fn refresh(&mut self, screen: &dyn Screen) {
        if !self.wants_update() {
            return;
        }
        let state = screen.state();
        if state.damage_sequence != self.seen.damage_sequence {
            let damage = screen.damage_since(self.seen.damage_sequence);
            self.seen.damage_sequence = damage.sequence;
            self.add_damage(&damage.rectangles);
        }
        let format = self.format;
        let mut update = Update::new(&format);
        if state.picture_sequence != self.seen.picture_sequence {
            self.seen.picture_sequence = state.picture_sequence;
            if let Some(size) = state.size
                && size != self.size
                && self.encodings.desktop_size
            {
                self.size = size;
                // Damage of the old size, and requests for it, mean nothing any more.
                self.pending.clear();
                self.pending.add(self.whole());
                update.desktop_size(size);
                self.request = None;
                self.output = update.finish();
                return;
            }
            self.pending.add(self.whole());
        }
        let Some(request) = self.request else { return };
        let wanted = request.rectangle.intersection(&self.whole());
        if !request.incremental {
            self.pending.add(wanted);
        }
        self.cursor_due |= state.pointer_sequence != self.seen.pointer_sequence;
        if self.cursor_due && self.encodings.cursor {
            self.seen.pointer_sequence = state.pointer_sequence;
            self.cursor_due = false;
            // Until the guest sets a shape the client shows its own.
            if let Some(shape) = screen.pointer() {
                update.cursor((!shape.is_blank()).then_some(&*shape));
            }
        }
        let hextile = self.encodings.hextile;
        let mut pixels = Vec::new();
        for rectangle in self.pending.take(&wanted).rectangles() {
            read(screen, &state, *rectangle, &mut pixels);
            update.pixels(*rectangle, &pixels, hextile);
        }
        if !update.is_empty() || !request.incremental {
            self.request = None;
            self.output = update.finish();
        }
    }
}

/// The pixels of a rectangle of the client's screen; black where there is no picture.
fn read(screen: &dyn Screen, state: &ScreenState, rectangle: Rectangle, into: &mut Vec<u32>) {
    let size = state.size.unwrap_or((0, 0));
    let visible = rectangle.intersection(&Rectangle::sized(size.0, size.1));
    if visible == rectangle && screen.read(rectangle, into).is_ok() {
        return;
    }
    let mut part = Vec::new();
    if visible.is_empty() || screen.read(visible, &mut part).is_err() {
        part.clear();
    }
    into.clear();
    into.resize(usize::try_from(rectangle.area()).unwrap_or(0), 0);
    // Both begin in the same corner: what is missing lies to the right and below.
    let rows = into.chunks_mut(rectangle.width() as usize);
    for (to, from) in rows.zip(part.chunks(visible.width().max(1) as usize)) {
        to[..from.len()].copy_from_slice(from);
    }
}
