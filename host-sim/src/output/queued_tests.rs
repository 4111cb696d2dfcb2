use super::*;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::sync::mpsc::RecvTimeoutError;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// The room of the tests' pipe, which is not what they are about.
const PIPE: i32 = 4096;

fn queued() -> (File, OwnedFd, QueuedOutput) {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PIPE)).unwrap();
    let output = QueuedOutput::to(&writer).unwrap();
    (File::from(reader), writer, output)
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n % 251) as u8).collect()
}

#[test]
fn a_slow_reader_gets_every_byte() {
    let (mut reader, writer, output) = queued();
    drop(writer);
    let sent = bytes(3 * QueuedOutput::LIMIT / 2);
    let expected = sent.clone();
    let sender = std::thread::spawn(move || sent.chunks(7).for_each(|piece| output.append(piece)));
    let mut read = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        // Slower than the sender, so that the queue is full most of the time.
        std::thread::sleep(Duration::from_millis(1));
        match reader.read(&mut buffer).unwrap() {
            0 => break,
            count => read.extend_from_slice(&buffer[..count]),
        }
    }
    sender.join().unwrap();
    assert!(read == expected);
}

#[test]
fn who_does_not_read_holds_up_nobody_and_is_told_what_is_missing() {
    let (mut reader, _writer, output) = queued();
    let excess = 100_000;
    let sent = bytes(QueuedOutput::LIMIT + excess);
    let begin = Instant::now();
    sent.chunks(1000).for_each(|piece| output.append(piece));
    // Only the first wait is for the reader.
    let waited = begin.elapsed();
    assert!(waited >= QueuedOutput::PATIENCE, "{waited:?}");
    assert!(waited < 20 * QueuedOutput::PATIENCE, "{waited:?}");
    assert!(!output.drain(QueuedOutput::PATIENCE));

    let lost = output.0.lock().dropped as usize;
    assert!((excess - PIPE as usize - 2 * PIECE..=excess).contains(&lost));
    let kept = sent.len() - lost;
    let mut read = vec![0; kept];
    reader.read_exact(&mut read).unwrap();
    assert!(read == sent[..kept]);
    let note = format!("\r\n[{lost} bytes were dropped here: nobody read them]\r\n");
    output.append(b"and on");
    let mut read = vec![0; note.len() + 6];
    reader.read_exact(&mut read).unwrap();
    assert_eq!(String::from_utf8_lossy(&read), format!("{note}and on"));
    assert!(output.drain(QueuedOutput::PATIENCE));
}

#[test]
fn the_end_waits_for_a_reader_but_not_for_nobody() {
    let (mut reader, _writer, output) = queued();
    let sent = bytes(10_000);
    output.append(&sent);
    let drop_it = std::thread::spawn(move || drop(output));
    let mut read = vec![0; sent.len()];
    reader.read_exact(&mut read).unwrap();
    assert!(read == sent);
    drop_it.join().unwrap();

    let (_reader, _writer, output) = queued();
    output.append(&sent);
    let begin = Instant::now();
    drop(output);
    assert!(begin.elapsed() >= QueuedOutput::PATIENCE);

    // Nor for one that takes a little now and then, for ever.
    let (mut reader, _writer, output) = queued();
    output.append(&bytes(QueuedOutput::LIMIT));
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let trickle = std::thread::spawn(move || {
        let step = Duration::from_millis(30);
        while stopped
            .recv_timeout(step)
            .is_err_and(|error| error == RecvTimeoutError::Timeout)
        {
            reader.read_exact(&mut [0; PIECE]).unwrap();
        }
    });
    assert!(!output.drain(Duration::from_millis(100)));
    stop.send(()).unwrap();
    trickle.join().unwrap();
}

#[test]
fn somebody_else_may_have_made_the_file_non_blocking() {
    let (mut reader, writer, output) = queued();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let sent = bytes(5 * PIPE as usize);
    output.append(&sent);
    let mut read = vec![0; sent.len()];
    reader.read_exact(&mut read).unwrap();
    assert!(read == sent);
}

/// Fails the first time.
struct Failing(bool, std::sync::mpsc::Sender<Vec<u8>>);

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !std::mem::replace(&mut self.0, true) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        self.1.send(bytes.to_vec()).unwrap();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_error_loses_only_what_it_met() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let output = QueuedOutput::start(Failing(false, sender)).unwrap();
    output.append(b"lost");
    assert!(output.drain(QueuedOutput::PATIENCE));
    output.append(b"kept");
    assert!(output.drain(QueuedOutput::PATIENCE));
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [b"kept"]);
}
