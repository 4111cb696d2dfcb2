//! The VNC server with sockets, over the devices themselves.

mod display_support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use display_support::{Guest, WINDOW, mapper};
use host_sim::display::rfb::{Console, ListenAddress, ListenError, RfbOptions, RfbServer};
use host_sim::display::screen::Screen;
use host_sim::partition::device_memory::{DeviceMemoryMapper, RecordingMapper};
use host_sim::vsp::keyboard::{Keyboard, KeyboardHandle};
use host_sim::vsp::mouse::{Mouse, MouseHandle};
use host_sim::vsp::video::{Video, VideoHandle, VideoOptions};
use vsc_input::wire::{keyboard, mouse};
use vsc_video::wire::{Dirt, GuestMessage, Rectangle, Situation, Version, VramLocation};

/// Longest that anything may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A machine with all three devices, all in the guest's hands.
struct Machine {
    video: VideoHandle,
    keyboard: KeyboardHandle,
    mouse: MouseHandle,
    screen: Guest,
    keys: Guest,
    pointer: Guest,
    mapper: Arc<RecordingMapper>,
    _devices: (Video, Keyboard, Mouse),
}

fn situation(width: u32, height: u32) -> GuestMessage<'static> {
    GuestMessage::SituationUpdate(Situation {
        user_context: 0,
        video_output_count: 1,
        active: 1,
        vram_offset: 0,
        depth_bits: 32,
        width,
        height,
        pitch: width * 4,
    })
}

impl Machine {
    fn new() -> Self {
        let mapper = mapper();
        let share = Arc::clone(&mapper) as Arc<dyn DeviceMemoryMapper>;
        let (mut video_device, video) = Video::new(VideoOptions::default(), share).unwrap();
        let (mut keyboard_device, keyboard) = Keyboard::new();
        let (mut mouse_device, mouse) = Mouse::new();
        let screen = Guest::open(&mut video_device, 8);
        let mut keys = Guest::open(&mut keyboard_device, 8);
        let mut pointer = Guest::open(&mut mouse_device, 8);
        keys.send_raw(&keyboard::GuestMessage::ProtocolRequest(keyboard::VERSION).emit());
        assert_eq!(keys.raw_answers().len(), 1);
        for message in [
            mouse::GuestMessage::ProtocolRequest(mouse::VERSION),
            mouse::GuestMessage::DeviceInfoAck,
        ] {
            let mut bytes = Vec::new();
            message.emit(&mut bytes);
            pointer.send(&bytes);
            pointer.answers();
        }
        let mut machine = Self {
            video,
            keyboard,
            mouse,
            screen,
            keys,
            pointer,
            mapper,
            _devices: (video_device, keyboard_device, mouse_device),
        };
        machine.say(&GuestMessage::VersionRequest(Version::new(3, 5)));
        machine.say(&GuestMessage::VramLocation(VramLocation {
            user_context: 0,
            address: Some(WINDOW.start),
        }));
        machine.say(&situation(640, 480));
        machine
    }

    fn say(&mut self, message: &GuestMessage<'_>) {
        let mut bytes = Vec::new();
        message.emit(&mut bytes);
        self.screen.send(&bytes);
        self.screen.answers();
    }

    fn console(&self) -> Console {
        Console {
            screen: Arc::new(self.video.clone()),
            keys: Some(Arc::new(self.keyboard.clone())),
            pointing: Some(Arc::new(self.mouse.clone())),
        }
    }

    fn serve(&self) -> RfbServer {
        let options = RfbOptions {
            address: ListenAddress::Tcp("127.0.0.1:0".parse().unwrap()),
            name: "test".into(),
        };
        RfbServer::start(&options, self.console()).unwrap()
    }

    fn paint(&mut self, width: u32, height: u32, seed: u32) {
        let pixels: Vec<u8> = (0..width * height)
            .flat_map(|at| (at.wrapping_mul(0x9E37_79B1) ^ seed).to_le_bytes())
            .collect();
        assert!(self.mapper.guest_write(WINDOW.start, &pixels));
    }

    /// Lets the guest work until `is_done`.
    fn until(&mut self, mut is_done: impl FnMut(&mut Self) -> bool) {
        let start = std::time::Instant::now();
        while !is_done(self) {
            assert!(start.elapsed() < DEADLINE, "nothing happens");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

struct Client<S> {
    stream: S,
}

fn connect(server: &RfbServer) -> Client<TcpStream> {
    let ListenAddress::Tcp(address) = server.address() else {
        panic!("no port");
    };
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    Client { stream }
}

impl<S: Read + Write> Client<S> {
    fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The whole handshake; the screen's size.
    fn start(&mut self) -> (u32, u32) {
        assert_eq!(self.read(12), b"RFB 003.008\n");
        self.send(b"RFB 003.008\n");
        assert_eq!(self.read(2), [1, 1]);
        self.send(&[1]);
        assert_eq!(self.read(4), [0; 4]);
        self.send(&[1]);
        let init = self.read(24);
        assert_eq!(self.read(4), b"test");
        let u16_at = |at: usize| u32::from(u16::from_be_bytes([init[at], init[at + 1]]));
        (u16_at(0), u16_at(2))
    }

    fn ask(&mut self, incremental: bool, width: u32, height: u32) {
        let mut message = vec![3, u8::from(incremental), 0, 0, 0, 0];
        message.extend((width as u16).to_be_bytes());
        message.extend((height as u16).to_be_bytes());
        self.send(&message);
    }

    /// An update of raw rectangles, painted into `image` (red, green, blue); the area that it covers.
    fn update(&mut self, image: &mut [u8], width: usize) -> usize {
        let head = self.read(4);
        assert_eq!(head[..2], [0, 0]);
        let mut area = 0;
        for _ in 0..u16::from_be_bytes([head[2], head[3]]) {
            let head = self.read(12);
            let value = |at: usize| usize::from(u16::from_be_bytes([head[at], head[at + 1]]));
            assert_eq!(head[8..], [0; 4], "raw");
            let pixels = self.read(value(4) * value(6) * 4);
            for (at, pixel) in pixels.chunks(4).enumerate() {
                let (x, y) = (value(0) + at % value(4), value(2) + at / value(4));
                image[(y * width + x) * 3..][..3].copy_from_slice(&[pixel[2], pixel[1], pixel[0]]);
            }
            area += value(4) * value(6);
        }
        area
    }

    fn is_disconnected(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == ErrorKind::ConnectionReset,
            }
        }
    }
}

#[test]
fn what_the_guest_draws_is_what_the_client_sees() {
    let mut machine = Machine::new();
    machine.paint(640, 480, 1);
    let server = machine.serve();
    let mut client = connect(&server);
    assert_eq!(client.start(), (640, 480));
    machine.until(|machine| machine.video.status().viewers == 1);
    machine.screen.answers();
    let mut image = vec![0; 640 * 480 * 3];
    client.ask(false, 640, 480);
    assert_eq!(client.update(&mut image, 640), 640 * 480);
    let snapshot = machine.video.snapshot().unwrap();
    assert_eq!(image, snapshot.as_bytes());
    // The guest doesn't say what it changes: it is found all the same.
    assert!(!machine.video.state().reports_damage);
    machine.paint(640, 480, 2);
    let expected = machine.video.snapshot().unwrap();
    while image != expected.as_bytes() {
        client.ask(true, 640, 480);
        client.update(&mut image, 640);
    }
    // Now it does, so only that is sent.
    machine.say(&GuestMessage::Dirt(Dirt {
        video_output: 0,
        rectangles: &[Rectangle::EVERYTHING],
    }));
    client.ask(false, 640, 480);
    client.update(&mut image, 640);
    assert!(machine.video.state().reports_damage);
    client.ask(true, 640, 480);
    machine.paint(640, 480, 3);
    machine.say(&GuestMessage::Dirt(Dirt {
        video_output: 0,
        rectangles: &[Rectangle::new(600, 470, 700, 500)],
    }));
    assert_eq!(client.update(&mut image, 640), 40 * 10);
    let expected = machine.video.snapshot().unwrap();
    for (x, y) in [(600, 470), (639, 479)] {
        let at = (y * 640 + x) * 3;
        let pixel = expected.pixel(x as u32, y as u32).unwrap();
        assert_eq!(image[at..at + 3], pixel);
    }
    drop(client);
    machine.until(|machine| machine.video.status().viewers == 0);
}

#[test]
fn keys_and_pointer_arrive_in_the_guest() {
    let mut machine = Machine::new();
    let server = machine.serve();
    let mut client = connect(&server);
    client.start();
    client.send(&[4, 1, 0, 0, 0, 0, 0, 0x41]);
    client.send(&[4, 0, 0, 0, 0, 0, 0, 0x41]);
    client.send(&[4, 1, 0, 0, 0, 0, 0xFF, 0x53]);
    client.send(&[5, 1, 2, 127, 0, 0]);
    let code = |payload: &Vec<u8>| (payload[4], payload[8]);
    let mut codes = Vec::new();
    machine.until(|machine| {
        codes.extend(machine.keys.raw_answers().iter().map(code));
        codes.len() >= 5
    });
    assert_eq!(
        codes,
        [(0x2A, 0), (0x1E, 0), (0x2A, 2), (0x1E, 2), (0x4D, 4)]
    );
    let mut reports = Vec::new();
    machine.until(|machine| {
        machine.pointer.now += 100_000;
        reports.extend(machine.pointer.answers());
        !reports.is_empty()
    });
    assert_eq!(reports[0][8..], [1, 0xFF, 0x7F, 0, 0, 0, 0]);
    // A client that goes lets everything go.
    drop(client);
    codes.clear();
    reports.clear();
    machine.until(|machine| {
        machine.pointer.now += 100_000;
        codes.extend(machine.keys.raw_answers().iter().map(code));
        reports.extend(machine.pointer.answers());
        !codes.is_empty() && !reports.is_empty()
    });
    assert_eq!(codes, [(0x4D, 6)]);
    assert_eq!(reports[0][8], 0);
}

#[test]
fn a_new_mode_reaches_the_client() {
    let mut machine = Machine::new();
    let server = machine.serve();
    let mut client = connect(&server);
    client.start();
    client.send(&[2, 0, 0, 2, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0x21]);
    let mut image = vec![0; 640 * 480 * 3];
    client.ask(true, 640, 480);
    client.update(&mut image, 640);
    client.ask(true, 640, 480);
    machine.say(&situation(800, 600));
    machine.paint(800, 600, 9);
    assert_eq!(
        client.read(16),
        [0, 0, 0, 1, 0, 0, 0, 0, 3, 32, 2, 88, 0xFF, 0xFF, 0xFF, 0x21]
    );
    let mut image = vec![0; 800 * 600 * 3];
    client.ask(false, 800, 600);
    client.update(&mut image, 800);
    assert_eq!(image, machine.video.snapshot().unwrap().as_bytes());
}

#[test]
fn several_clients_and_no_more() {
    let machine = Machine::new();
    let server = machine.serve();
    let mut clients: Vec<_> = (0..8).map(|_| connect(&server)).collect();
    for client in &mut clients {
        client.start();
        client.ask(false, 640, 480);
        let mut image = vec![0; 640 * 480 * 3];
        assert_eq!(client.update(&mut image, 640), 640 * 480);
    }
    assert!(connect(&server).is_disconnected());
    drop(clients.pop());
    // Its place is free as soon as the server has noticed.
    let start = std::time::Instant::now();
    loop {
        assert!(start.elapsed() < DEADLINE);
        let mut client = connect(&server);
        let mut buffer = [0; 12];
        if client.stream.read_exact(&mut buffer).is_ok() {
            break;
        }
    }
    drop(server);
    for client in &mut clients {
        assert!(client.is_disconnected(), "the server has gone");
    }
}

#[test]
fn hostile_clients_are_disconnected_and_hurt_nobody() {
    let machine = Machine::new();
    let server = machine.serve();
    let mut honest = connect(&server);
    honest.start();
    for nonsense in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"RFB 003.008\n\x05",
        b"RFB 003.008\n\x01\x01\xFF",
        b"RFB 003.008\n\x01\x01\x02\0\xFF\xFF",
        b"RFB 003.008\n\x01\x01\x06\0\0\0\xFF\xFF\xFF\xFF",
        b"RFB 003.008\n\x01\x01\0\0\0\0\x18\x18\0\x01\0\0\0\0\0\0\0\0\0\0\0\0",
    ] {
        let mut client = connect(&server);
        client.send(nonsense);
        assert!(client.is_disconnected(), "{nonsense:?}");
    }
    // One that asks for everything and reads nothing.
    let mut greedy = connect(&server);
    greedy.start();
    greedy
        .stream
        .set_write_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let request = [3, 0, 0, 0, 0, 0, 2, 128, 1, 224].repeat(1000);
    for _ in 0..50 {
        if greedy.stream.write_all(&request).is_err() {
            break;
        }
    }
    let mut image = vec![0; 640 * 480 * 3];
    honest.ask(false, 640, 480);
    assert_eq!(honest.update(&mut image, 640), 640 * 480);
}

#[test]
fn only_this_machine_and_this_user_are_served() {
    let machine = Machine::new();
    let start = |address| {
        let name = "test".into();
        RfbServer::start(&RfbOptions { address, name }, machine.console())
    };
    for address in ["0.0.0.0:0", "192.0.2.1:5900", "[::]:0"] {
        let refused = start(ListenAddress::Tcp(address.parse().unwrap()));
        assert!(matches!(refused, Err(ListenError::NotLoopback(_))));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("screen");
    let server = start(ListenAddress::Unix(path.clone())).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(
        start(ListenAddress::Unix(path.clone())),
        Err(ListenError::Socket { .. })
    ));
    let stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut client = Client { stream };
    assert_eq!(client.start(), (640, 480));
    drop(server);
    assert!(!path.exists());
}

#[test]
fn without_a_picture_the_screen_is_black() {
    let mut machine = Machine::new();
    machine.paint(640, 480, 1);
    machine.screen.close();
    let server = machine.serve();
    let mut client = connect(&server);
    assert_eq!(client.start(), (640, 480));
    let mut image = vec![7; 640 * 480 * 3];
    client.ask(false, 640, 480);
    client.update(&mut image, 640);
    assert_eq!(image, vec![0; 640 * 480 * 3]);
}
