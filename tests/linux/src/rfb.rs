//! The least that is a VNC client: version 3.8 of the protocol (RFC 6143), no security, pixels as they are.

use std::io::{Error, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// The encoding of pixels as they are.
const RAW: i32 = 0;
/// The pseudo-encoding that tells of a new size.
const DESKTOP_SIZE: i32 = -223;

/// Bytes in a pixel of the format that we ask for.
const PIXEL: usize = 4;

/// A screen that somebody serves, and a keyboard and a pointer with it.
pub struct RfbClient {
    stream: UnixStream,
    width: u16,
    height: u16,
    /// Red, green and blue of each pixel, row by row.
    pixels: Vec<[u8; 3]>,
}

impl RfbClient {
    /// Connects to a server's socket. `patience` is how long it may be silent.
    ///
    /// # Errors
    /// There is no server, or it speaks otherwise.
    pub fn connect(socket: &Path, patience: Duration) -> std::io::Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let version: [u8; 12] = read(&mut stream)?;
        expect(&version == b"RFB 003.008\n", "another version")?;
        stream.write_all(b"RFB 003.008\n")?;
        let [count] = read(&mut stream)?;
        let mut kinds = vec![0; count.into()];
        stream.read_exact(&mut kinds)?;
        expect(kinds.contains(&1), "no access without a password")?;
        stream.write_all(&[1])?;
        expect(read(&mut stream)? == [0; 4], "refused")?;
        // Others may watch as well.
        stream.write_all(&[1])?;
        let head: [u8; 24] = read(&mut stream)?;
        let name = u32::from_be_bytes([head[20], head[21], head[22], head[23]]);
        expect(name < 1024, "a long name")?;
        let mut name = vec![0; name as usize];
        stream.read_exact(&mut name)?;

        // 32 bits, 24 of them used, big-endian, true colour: red, green, blue from bit 16 down.
        let format = [32, 24, 1, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];
        stream.write_all(&[0; 4])?;
        stream.write_all(&format)?;
        stream.write_all(&[2, 0, 0, 2])?;
        stream.write_all(&RAW.to_be_bytes())?;
        stream.write_all(&DESKTOP_SIZE.to_be_bytes())?;
        let mut client = Self {
            stream,
            width: 0,
            height: 0,
            pixels: Vec::new(),
        };
        client.resize(
            u16::from_be_bytes([head[0], head[1]]),
            u16::from_be_bytes([head[2], head[3]]),
        );
        Ok(client)
    }

    fn resize(&mut self, width: u16, height: u16) {
        (self.width, self.height) = (width, height);
        self.pixels = vec![[0; 3]; usize::from(width) * usize::from(height)];
    }

    /// Width and height of the screen.
    #[must_use]
    pub fn size(&self) -> (u16, u16) {
        (self.width, self.height)
    }

    /// What has been received so far: red, green and blue of each pixel, row by row.
    #[must_use]
    pub fn pixels(&self) -> &[[u8; 3]] {
        &self.pixels
    }

    /// Asks for the whole screen and waits for it. Returns red, green and blue of each pixel, row by row.
    ///
    /// # Errors
    /// The server ends, is silent, or sends what was not asked for.
    pub fn picture(&mut self) -> std::io::Result<&[[u8; 3]]> {
        loop {
            let size = self.size();
            self.request(false)?;
            self.update()?;
            // With a new size, what came of the old one is no picture.
            if size == self.size() {
                return Ok(&self.pixels);
            }
        }
    }

    /// Asks for what changes, again and again, until the screen pleases or the time is up. Returns whether it does.
    ///
    /// # Errors
    /// As for [`RfbClient::picture`].
    pub fn watch(
        &mut self,
        limit: Duration,
        pleases: impl Fn((u16, u16), &[[u8; 3]]) -> bool,
    ) -> std::io::Result<bool> {
        let deadline = Instant::now() + limit;
        while !pleases(self.size(), &self.pixels) {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            self.request(true)?;
            match self.update() {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => return Ok(false),
                other => other?,
            }
        }
        Ok(true)
    }

    fn request(&mut self, incremental: bool) -> std::io::Result<()> {
        let mut message = vec![3, incremental.into(), 0, 0, 0, 0];
        message.extend(self.width.to_be_bytes());
        message.extend(self.height.to_be_bytes());
        self.stream.write_all(&message)
    }

    /// Reads up to the end of the next update.
    fn update(&mut self) -> std::io::Result<()> {
        loop {
            match read(&mut self.stream)? {
                [0] => break,
                // A bell.
                [2] => {}
                [other] => return Err(Error::other(format!("message {other} of the server"))),
            }
        }
        let [_, high, low] = read(&mut self.stream)?;
        for _ in 0..u16::from_be_bytes([high, low]) {
            let head: [u8; 12] = read(&mut self.stream)?;
            let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
            let (x, y, width, height) = (word(0), word(2), word(4), word(6));
            match i32::from_be_bytes([head[8], head[9], head[10], head[11]]) {
                RAW => self.raw(x, y, width, height)?,
                DESKTOP_SIZE => self.resize(width, height),
                other => return Err(Error::other(format!("encoding {other} was not asked for"))),
            }
        }
        Ok(())
    }

    fn raw(&mut self, x: u16, y: u16, width: u16, height: u16) -> std::io::Result<()> {
        let [x, y, width, height] = [x, y, width, height].map(usize::from);
        expect(
            x + width <= self.width.into() && y + height <= self.height.into(),
            "a rectangle beyond the screen",
        )?;
        let mut row = vec![0; width * PIXEL];
        for y in y..y + height {
            self.stream.read_exact(&mut row)?;
            let start = y * usize::from(self.width) + x;
            let pixels = &mut self.pixels[start..start + width];
            for (pixel, bytes) in pixels.iter_mut().zip(row.as_chunks::<PIXEL>().0) {
                *pixel = [bytes[1], bytes[2], bytes[3]];
            }
        }
        Ok(())
    }

    /// Presses or releases a key, by its X11 keysym.
    ///
    /// # Errors
    /// The server has ended.
    pub fn key(&mut self, keysym: u32, pressed: bool) -> std::io::Result<()> {
        let mut message = vec![4, pressed.into(), 0, 0];
        message.extend(keysym.to_be_bytes());
        self.stream.write_all(&message)
    }

    /// Moves the pointer to a pixel, with these buttons down: 1 left, 2 middle, 4 right, 8 and 16 the wheel up and
    /// down.
    ///
    /// # Errors
    /// The server has ended.
    pub fn pointer(&mut self, x: u16, y: u16, buttons: u8) -> std::io::Result<()> {
        let mut message = vec![5, buttons];
        message.extend(x.to_be_bytes());
        message.extend(y.to_be_bytes());
        self.stream.write_all(&message)
    }
}

fn read<const N: usize>(stream: &mut UnixStream) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn expect(condition: bool, otherwise: &str) -> std::io::Result<()> {
    if condition {
        Ok(())
    } else {
        Err(Error::other(format!("the VNC server: {otherwise}")))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Serves one client that way, with a screen of 2 by 1 pixels, then sends `updates`, one for each request.
    fn serve(updates: &[&[u8]]) -> (tempfile::TempDir, RfbClient, std::thread::JoinHandle<()>) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("vnc");
        let listener = UnixListener::bind(&socket).unwrap();
        let updates: Vec<_> = updates.iter().map(|bytes| bytes.to_vec()).collect();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"RFB 003.008\n").unwrap();
            assert_eq!(read::<12>(&mut stream).unwrap(), *b"RFB 003.008\n");
            stream.write_all(&[2, 2, 1]).unwrap();
            assert_eq!(read::<1>(&mut stream).unwrap(), [1]);
            stream.write_all(&[0; 4]).unwrap();
            read::<1>(&mut stream).unwrap();
            stream.write_all(&[0, 2, 0, 1]).unwrap();
            stream.write_all(&[0; 19]).unwrap();
            stream.write_all(&[1, b'n']).unwrap();
            read::<20>(&mut stream).unwrap();
            read::<12>(&mut stream).unwrap();
            for update in updates {
                assert_eq!(read::<10>(&mut stream).unwrap()[0], 3);
                stream.write_all(&update).unwrap();
            }
        });
        let client = RfbClient::connect(&socket, PATIENCE).unwrap();
        (folder, client, server)
    }

    #[test]
    fn a_picture_of_the_new_size_is_asked_for() {
        let mut resize = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 2];
        resize.extend(DESKTOP_SIZE.to_be_bytes());
        let mut picture = vec![2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0];
        picture.extend([0, 1, 2, 3, 0, 4, 5, 6]);
        let (_folder, mut client, server) = serve(&[&resize, &picture]);
        assert_eq!(client.size(), (2, 1));
        assert_eq!(client.picture().unwrap(), [[1, 2, 3], [4, 5, 6]]);
        assert_eq!(client.size(), (1, 2));
        server.join().unwrap();
    }

    #[test]
    fn nonsense_is_an_error() {
        let mut beyond = vec![0, 0, 0, 1, 0, 1, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0];
        beyond.extend([0; 8]);
        for update in [
            &beyond[..],
            &[1],
            &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
        ] {
            let (_folder, mut client, server) = serve(&[update]);
            assert!(client.picture().is_err(), "{update:?}");
            server.join().unwrap();
        }
    }
}
