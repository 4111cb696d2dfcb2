//! Frames over a stream socket: each after its length, four bytes in network order. What passt speaks, and QEMU's
//! stream sockets.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::MAX_FRAME;
use super::frame::Frame;
use super::headers::ETHERNET_HEADER;
use super::queue::FrameQueue;

/// Reads one frame; `None` at the end of the stream.
///
/// # Errors
/// The stream breaks, ends within a frame, or announces a frame longer than [`MAX_FRAME`] or shorter than an Ethernet
/// header.
pub fn read_frame(stream: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut length = [0; 4];
    let mut done = 0;
    while done < length.len() {
        match stream.read(&mut length[done..]) {
            Ok(0) if done == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let length = u32::from_be_bytes(length) as usize;
    if !(ETHERNET_HEADER..=MAX_FRAME).contains(&length) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {length} bytes was announced"),
        ));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(Some(Frame::new(bytes)))
}

/// Writes one frame whole.
///
/// # Errors
/// The stream breaks. A part of the frame may have been written: the stream is of no use any more.
pub fn write_frame(stream: &mut impl Write, frame: &Frame, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    let length = u32::try_from(frame.bytes.len()).map_err(io::Error::other)?;
    buffer.extend_from_slice(&length.to_be_bytes());
    buffer.extend_from_slice(&frame.bytes);
    stream.write_all(buffer)
}

/// A socket at work: one thread reads, one writes.
#[derive(Debug)]
pub struct FrameStream {
    socket: UnixStream,
    outgoing: Arc<FrameQueue>,
    reader: Option<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
}

impl FrameStream {
    /// Moves frames between a socket and two queues until the socket breaks or this is dropped. `received` is given
    /// each frame from the socket and says whether to go on; it may wait, which holds the peer back. `ended` is called
    /// once the socket gives nothing more.
    ///
    /// # Errors
    /// The system refuses a thread or a second handle of the socket.
    pub fn start(
        socket: UnixStream,
        outgoing: Arc<FrameQueue>,
        mut received: impl FnMut(Frame) -> bool + Send + 'static,
        ended: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        let (mut from, mut to) = (socket.try_clone()?, socket.try_clone()?);
        let queue = Arc::clone(&outgoing);
        let writer = std::thread::Builder::new()
            .name("frames-out".into())
            .spawn(move || {
                let mut buffer = Vec::new();
                while let Some(frame) = queue.pop_waiting() {
                    if write_frame(&mut to, &frame, &mut buffer).is_err() {
                        break;
                    }
                }
                // The reader learns of it, and the peer.
                let _ = to.shutdown(Shutdown::Both);
            })?;
        let mut stream = Self {
            socket,
            outgoing,
            reader: None,
            writer: Some(writer),
        };
        let queue = Arc::clone(&stream.outgoing);
        stream.reader = Some(std::thread::Builder::new().name("frames-in".into()).spawn(
            move || {
                loop {
                    match read_frame(&mut from) {
                        Ok(Some(frame)) => {
                            if !received(frame) {
                                break;
                            }
                        }
                        Ok(None) => break,
                        Err(error) => {
                            tracing::debug!(%error, "the socket's stream of frames ends");
                            break;
                        }
                    }
                }
                let _ = from.shutdown(Shutdown::Both);
                queue.close();
                ended();
            },
        )?);
        Ok(stream)
    }
}

impl Drop for FrameStream {
    fn drop(&mut self) {
        self.outgoing.close();
        let _ = self.socket.shutdown(Shutdown::Both);
        let this = std::thread::current().id();
        for thread in [self.writer.take(), self.reader.take()]
            .into_iter()
            .flatten()
        {
            // The reader may be the one that drops it.
            if thread.thread().id() != this && thread.join().is_err() {
                tracing::error!("a thread of a socket panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn frames_survive_any_pieces() {
        struct Drip<'a>(&'a [u8]);
        impl Read for Drip<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                let count = into.len().min(self.0.len()).min(3);
                into[..count].copy_from_slice(&self.0[..count]);
                self.0 = &self.0[count..];
                Ok(count)
            }
        }
        let frames = [
            Frame::new([1; 14]),
            Frame::new([2; 1514]),
            Frame::new(vec![3; MAX_FRAME]),
        ];
        let (mut bytes, mut buffer) = (Vec::new(), Vec::new());
        for frame in &frames {
            write_frame(&mut bytes, frame, &mut buffer).unwrap();
        }
        let mut drip = Drip(&bytes);
        for frame in &frames {
            assert_eq!(read_frame(&mut drip).unwrap().as_ref(), Some(frame));
        }
        assert_eq!(read_frame(&mut drip).unwrap(), None);
        for cut in [1, 3, 4, 10] {
            assert!(read_frame(&mut Drip(&bytes[..cut])).is_err(), "{cut}");
        }
        for length in [0u32, 13, MAX_FRAME as u32 + 1, u32::MAX] {
            assert!(read_frame(&mut Drip(&length.to_be_bytes())).is_err());
        }
    }

    #[test]
    fn the_peers_end_ends_the_stream() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let queue = Arc::new(FrameQueue::default());
        let (ended, end) = mpsc::channel();
        let (frame, frames) = mpsc::channel();
        let stream = FrameStream::start(
            ours,
            Arc::clone(&queue),
            move |next| frame.send(next).is_ok(),
            move || ended.send(()).unwrap(),
        )
        .unwrap();
        let mut theirs = theirs;
        let sent = Frame::new([7; 60]);
        write_frame(&mut theirs, &sent, &mut Vec::new()).unwrap();
        assert_eq!(frames.recv().unwrap(), sent);
        assert!(queue.push(sent.clone()));
        assert_eq!(read_frame(&mut theirs).unwrap(), Some(sent));
        drop(theirs);
        end.recv().unwrap();
        assert!(!queue.push(Frame::new([0; 60])));
        drop(stream);
    }
}
