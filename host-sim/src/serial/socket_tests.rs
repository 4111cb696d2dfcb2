use super::*;
use std::os::unix::thread::JoinHandleExt as _;
use std::time::Duration;

const DATA: u8 = 0;
const LINE_STATUS: u8 = 5;
const PATIENCE: Duration = Duration::from_secs(60);

fn line() -> (tempfile::TempDir, PathBuf, SerialSocket, Arc<SerialPort>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("line");
    let mut socket = SerialSocket::listen(&path).unwrap();
    let port = Arc::new(SerialPort::new(Box::new(socket.output()), None));
    socket.feed(&port).unwrap();
    (directory, path, socket, port)
}

fn client(path: &Path) -> UnixStream {
    let client = UnixStream::connect(path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

fn read_exactly(client: &mut UnixStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes).unwrap();
    bytes
}

fn guest_sends(port: &SerialPort, bytes: &[u8]) {
    bytes.iter().for_each(|byte| port.write(DATA, *byte));
}

fn guest_reads(port: &SerialPort, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        if port.read(LINE_STATUS) & 1 == 0 {
            std::thread::yield_now();
        } else {
            bytes.push(port.read(DATA));
        }
    }
    bytes
}

#[test]
fn what_was_sent_before_the_client_came_is_kept() {
    let (_directory, path, _socket, port) = line();
    guest_sends(&port, b"early ");
    let mut client = client(&path);
    guest_sends(&port, b"late");
    assert_eq!(read_exactly(&mut client, 10), b"early late");
}

#[test]
fn a_long_input_arrives_whole_at_a_slow_guest_and_the_next_client_is_served() {
    let (_directory, path, _socket, port) = line();
    let input: Vec<u8> = (0..20_000_u32).map(|n| (n % 253) as u8).collect();
    let mut first = client(&path);
    first.write_all(&input).unwrap();
    assert!(guest_reads(&port, input.len()) == input);
    drop(first);
    let mut second = client(&path);
    second.write_all(b"again").unwrap();
    assert_eq!(guest_reads(&port, 5), b"again");
    guest_sends(&port, b"yes");
    assert_eq!(read_exactly(&mut second, 3), b"yes");
}

#[test]
fn a_client_that_does_not_read_does_not_stop_the_guest() {
    let (_directory, path, _socket, port) = line();
    let mut client = client(&path);
    client.write_all(b"x").unwrap();
    assert_eq!(guest_reads(&port, 1), b"x");
    guest_sends(&port, &vec![b'.'; 3 * BACKLOG_LIMIT]);
    guest_sends(&port, b"end");
    let mut last = [0; 3];
    while last != *b"end" {
        let byte = read_exactly(&mut client, 1)[0];
        last = [last[1], last[2], byte];
    }
}

#[test]
fn the_socket_is_the_owners_and_is_removed() {
    let (directory, path, socket, _port) = line();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(SerialSocket::listen(&path).is_err(), "in use");
    drop(socket);
    assert!(!path.exists());
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left behind");
    drop(SerialSocket::listen(&path).unwrap());
    let file = directory.path().join("file");
    std::fs::write(&file, b"precious").unwrap();
    assert!(SerialSocket::listen(&file).is_err());
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
}

/// What the socket's thread has had of a processor.
fn processor_time(socket: &SerialSocket) -> Duration {
    let thread = socket.thread.as_ref().unwrap().as_pthread_t();
    let (mut clock, mut time) = (
        0,
        libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
    );
    // SAFETY: the thread has not been joined, and both pointers are to variables of this function.
    let results = unsafe {
        [
            libc::pthread_getcpuclockid(thread, &raw mut clock),
            libc::clock_gettime(clock, &raw mut time),
        ]
    };
    assert_eq!(results, [0, 0]);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn a_client_that_leaves_what_the_guest_does_not_read_makes_room_for_the_next() {
    let (_directory, path, socket, port) = line();
    let mut first = client(&path);
    first.write_all(&[b'x'; 1000]).unwrap();
    drop(first);
    // Nobody asks the descriptor again and again that tells at once that its other end has gone.
    let mut second = client(&path);
    second.write_all(b"again").unwrap();
    let before = processor_time(&socket);
    let begun = Instant::now();
    // The FIFO of the port holds what the first one sent first.
    let mut read = Vec::new();
    while !read.ends_with(b"again") {
        assert!(begun.elapsed() < PATIENCE);
        if begun.elapsed() < 3 * INPUT_PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        }
        read.extend(guest_reads(&port, 1));
    }
    assert!(read.len() < 1000, "{}", read.len());
    let spent = processor_time(&socket) - before;
    assert!(spent < INPUT_PATIENCE, "{spent:?} in {:?}", begun.elapsed());
}
