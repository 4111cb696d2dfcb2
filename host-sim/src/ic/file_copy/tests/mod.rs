//! The service over rings, with a guest that keeps its files in memory.

mod guest;

use std::sync::atomic::{AtomicBool, Ordering};

use ic_services::wire::{BODY_OFFSET, Status};

use self::guest::Files;
use super::*;
use crate::ic::RequestError;
use crate::ic::testing::{Bench, Guest};
use crate::vmbus::vsp::NextPoll;

const V1_1: &[Version] = &[Version::new(1, 1)];
const START: u32 = 0;
const WRITE: u32 = 1;
const COMPLETE: u32 = 2;
const CANCEL: u32 = 3;

struct Stage {
    device: FileCopy,
    handle: FileCopyHandle,
    bench: Bench,
    guest: Guest,
    files: Files,
}

fn stage() -> Stage {
    let (mut device, handle) = FileCopy::new(FileCopyOptions::default());
    assert_eq!(device.offer().interface, class::FILE_COPY);
    let bench = Bench::open(&mut device);
    let mut stage = Stage {
        device,
        handle,
        bench,
        guest: Guest::new(MessageType::FILE_COPY, V1_1),
        files: Files::default(),
    };
    stage.run();
    assert_eq!(stage.handle.link(), Link::Ready(Version::new(1, 1)));
    stage
}

impl Stage {
    fn run(&mut self) {
        let files = &mut self.files;
        let act = |_, body: &mut [u8]| files.act(body);
        self.bench.run_now(&mut self.guest, act);
    }

    fn outcome(&mut self, request: Result<Outcome, FileCopyError>) -> Result<(), FileCopyError> {
        let mut answer = request?;
        assert!(answer.take().is_none());
        self.run();
        answer.take().expect("an outcome")
    }

    /// A file of so many bytes that has been begun.
    fn begun(&mut self, size: u64) -> CopySession {
        let (session, answer) = self.handle.start(&NewFile::new("/tmp", "f", size)).unwrap();
        self.outcome(Ok(answer)).unwrap();
        session
    }

    /// Runs the guest while `operator` waits for it elsewhere.
    fn beside<T: Send>(&mut self, operator: impl FnOnce(FileCopyHandle) -> T + Send) -> T {
        let (handle, ended) = (self.handle.clone(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let operator = std::panic::AssertUnwindSafe(|| operator(handle));
                let result = std::panic::catch_unwind(operator);
                ended.store(true, Ordering::Release);
                result
            });
            while !ended.load(Ordering::Acquire) {
                self.run();
                std::thread::yield_now();
            }
            // What was asked for at the end.
            self.run();
            worker.join().expect("panics are caught").expect("no panic")
        })
    }

    fn told(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.files.told)
    }
}

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// A source that gives a few bytes at a time.
struct Drops<'a>(&'a [u8]);

impl Read for Drops<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = into.len().min(1000);
        self.0.read(&mut into[..count])
    }
}

#[test]
fn files_of_all_sizes_arrive() {
    let mut stage = stage();
    for size in [0, 1, 6143, 6144, 6145, 100_000] {
        let content = content(size);
        let file = NewFile::new("/tmp", format!("ünï🦀 {size}"), size as u64);
        let copied = stage.beside(|handle| handle.copy(&file, Drops(&content)));
        assert!(copied.is_ok(), "{copied:?}");
        let arrived = &stage.files.files[&format!("/tmp/{}", file.file_name)];
        assert!(*arrived == content, "{size}");
        assert_eq!(stage.handle.progress(), None);
        let mut told = vec![WRITE; size.div_ceil(6144)];
        told.insert(0, START);
        told.push(COMPLETE);
        assert_eq!(stage.told(), told);
    }
}

// FC1, as it concerns the host
#[test]
fn flags_say_what_may_be_done() {
    let mut stage = stage();
    let file = NewFile::new("/tmp", "f", 3);
    let copy = |stage: &mut Stage, file: &NewFile, text: &str| {
        stage.beside(|handle| handle.copy(file, text.as_bytes()))
    };
    copy(&mut stage, &file, "old").unwrap();
    stage.told();
    let refused = copy(&mut stage, &file, "new");
    assert!(matches!(refused, Err(FileCopyError::AlreadyExists)));
    assert_eq!(stage.told(), [START], "nothing to cancel");
    let overwrite = NewFile {
        overwrite: true,
        ..file
    };
    copy(&mut stage, &overwrite, "new").unwrap();
    assert_eq!(stage.files.files["/tmp/f"], b"new");
    let deep = NewFile::new("/a/b", "f", 3);
    let refused = copy(&mut stage, &deep, "new");
    assert!(matches!(
        refused,
        Err(FileCopyError::Request(RequestError::Refused(0x8000_4005)))
    ));
    let create = NewFile {
        create_path: true,
        ..deep
    };
    copy(&mut stage, &create, "new").unwrap();
}

// FC7, FC10h
#[test]
fn a_piece_that_fails_is_followed_by_a_cancel() {
    for (refused, told) in [
        (WRITE, &[START, WRITE, CANCEL][..]),
        (COMPLETE, &[START, WRITE, WRITE, COMPLETE, CANCEL]),
    ] {
        let mut stage = stage();
        stage.files.refuses = Some((refused, Status::DISK_FULL));
        let content = content(10_000);
        let file = NewFile::new("/tmp", "f", 10_000);
        let failed = stage.beside(|handle| handle.copy(&file, &content[..]));
        assert!(matches!(failed, Err(FileCopyError::DiskFull)), "{failed:?}");
        assert_eq!(stage.told(), told);
        assert!(stage.files.open.is_none());
        // And the next one works.
        stage.files.refuses = None;
        stage
            .beside(|handle| handle.copy(&file, &content[..]))
            .unwrap();
    }
}

#[test]
fn a_source_that_fails_or_ends_early_is_followed_by_a_cancel() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("torn"))
        }
    }
    let mut stage = stage();
    let file = NewFile::new("/tmp", "f", 7000);
    let failed = stage.beside(|handle| handle.copy(&file, Broken));
    assert!(matches!(failed, Err(FileCopyError::Source(_))));
    assert_eq!(stage.told(), [START, CANCEL]);
    let short = content(6200);
    let failed = stage.beside(|handle| handle.copy(&file, &short[..]));
    let size = 7000;
    assert!(matches!(failed, Err(FileCopyError::Size { given: 6200, size: s }) if s == size));
    assert_eq!(stage.told(), [START, WRITE, WRITE, CANCEL]);
}

// FC4, FC5, FC8, as they concern the host
#[test]
fn the_order_of_messages_is_kept() {
    let mut stage = stage();
    assert!(matches!(
        stage.handle.cancel(),
        Err(FileCopyError::NotStarted)
    ));
    let session = stage.begun(10);
    let second = stage.handle.start(&NewFile::new("/tmp", "g", 1)).err();
    assert!(matches!(second, Some(FileCopyError::Busy)));
    let missing = session.complete().err();
    assert!(matches!(
        missing,
        Some(FileCopyError::Size { given: 0, size: 10 })
    ));
    let too_much = session.write(&[0; 11]).err();
    assert!(matches!(
        too_much,
        Some(FileCopyError::Size {
            given: 11,
            size: 10
        })
    ));
    let too_large = session.write(&[0; 6145]).err();
    assert!(matches!(
        too_large,
        Some(FileCopyError::PieceTooLarge(6145))
    ));
    let _piece = session.write(&[1; 4]).unwrap();
    assert!(matches!(
        session.write(&[1; 4]).err(),
        Some(FileCopyError::Busy)
    ));
    stage.run();
    let progress = Progress {
        file_name: "f".into(),
        copied: 4,
        size: 10,
    };
    assert_eq!(stage.handle.progress(), Some(progress));
    let last = session.write(&[2; 6]);
    stage.outcome(last).unwrap();
    let end = session.complete();
    stage.outcome(end).unwrap();
    assert!(matches!(
        session.write(&[]).err(),
        Some(FileCopyError::NotStarted)
    ));
    drop(session);
    stage.run();
    assert_eq!(stage.told(), [START, WRITE, WRITE, COMPLETE]);
}

#[test]
fn a_copy_can_be_cancelled() {
    // Between two pieces.
    let mut stage = stage();
    let session = stage.begun(10);
    stage.handle.cancel().unwrap();
    assert!(matches!(
        session.write(&[1]).err(),
        Some(FileCopyError::Cancelled)
    ));
    stage.run();
    assert_eq!(stage.told(), [START, CANCEL]);
    assert!(matches!(
        session.complete().err(),
        Some(FileCopyError::Cancelled)
    ));
    // While the guest is at a piece, and while it begins.
    let session = stage.begun(10);
    let piece = session.write(&[1]);
    stage.handle.cancel().unwrap();
    stage.outcome(piece).unwrap();
    assert!(matches!(
        session.write(&[1]).err(),
        Some(FileCopyError::Cancelled)
    ));
    assert_eq!(stage.told(), [START, WRITE, CANCEL]);
    let (session, start) = stage.handle.start(&NewFile::new("/tmp", "f", 1)).unwrap();
    stage.handle.cancel().unwrap();
    stage.outcome(Ok(start)).unwrap();
    assert_eq!(stage.told(), [START, CANCEL]);
    // Who was cancelled does not write into the next one's file.
    let next = stage.begun(1);
    assert!(matches!(
        session.write(&[1]).err(),
        Some(FileCopyError::NotStarted)
    ));
    drop(session);
    let piece = next.write(&[1]);
    stage.outcome(piece).unwrap();
    // Who goes away gives up.
    drop(next);
    stage.run();
    assert_eq!(stage.told(), [START, WRITE, CANCEL]);
    assert_eq!(stage.handle.progress(), None);
}

#[test]
fn what_cannot_be_asked_is_refused_at_once() {
    let (_, handle) = FileCopy::new(FileCopyOptions::default());
    let file = NewFile::new("/tmp", "f", 1);
    let not_ready = handle.copy(&file, &b"x"[..]);
    assert!(matches!(
        not_ready,
        Err(FileCopyError::Request(RequestError::NotReady))
    ));
    let stage = stage();
    for (directory, name) in [("/tmp", "x".repeat(260)), ("/x\0y", "f".into())] {
        let refused = stage.handle.start(&NewFile::new(directory, name, 1)).err();
        assert!(matches!(refused, Some(FileCopyError::Name(_))));
    }
}

#[test]
fn fault_84_a_guest_that_does_not_answer_is_told_to_give_up_later() {
    for operation in [START, WRITE, COMPLETE] {
        let mut stage = stage();
        let (mut late, session) = if operation == START {
            let (session, late) = stage.handle.start(&NewFile::new("/tmp", "f", 1)).unwrap();
            (late, session)
        } else {
            let session = stage.begun(1);
            if operation == COMPLETE {
                let piece = session.write(&[1]);
                stage.outcome(piece).unwrap();
                (session.complete().unwrap(), session)
            } else {
                (session.write(&[1]).unwrap(), session)
            }
        };
        stage.bench.poll();
        stage.bench.now += REQUEST_TIMEOUT;
        stage.bench.poll();
        let outcome = late.take();
        assert!(matches!(
            outcome,
            Some(Err(FileCopyError::Request(RequestError::TimedOut)))
        ));
        assert!(matches!(
            session.write(&[]).err(),
            Some(FileCopyError::Request(RequestError::NotReady))
        ));
        assert_eq!(stage.handle.link(), Link::Negotiating);
        stage.run();
        assert_eq!(stage.told().last(), Some(&CANCEL));
        drop(session);
        // A file whose end was only not heard of is there.
        let arrived = stage.files.files.remove("/tmp/f").is_some();
        assert_eq!(arrived, operation == COMPLETE);
        drop(stage.begun(1));
    }
}

#[test]
fn fault_83_a_file_ends_with_the_channel() {
    let mut stage = stage();
    let session = stage.begun(5);
    let mut piece = session.write(&[1]).unwrap();
    stage.bench.close();
    let outcome = piece.take();
    assert!(matches!(
        outcome,
        Some(Err(FileCopyError::Request(RequestError::Abandoned)))
    ));
    assert_eq!(stage.handle.progress(), None);
    stage.bench = Bench::open(&mut stage.device);
    stage.guest = Guest::new(MessageType::FILE_COPY, V1_1);
    stage.files.open = None;
    stage.run();
    assert!(matches!(
        session.write(&[1]).err(),
        Some(FileCopyError::NotStarted)
    ));
    assert_eq!(stage.told(), [START], "what was never sent is forgotten");
    drop(session);
    let next = stage.begun(0);
    let end = next.complete();
    stage.outcome(end).unwrap();
}

#[test]
fn fault_76_a_guest_that_breaks_the_protocol_ends_the_copy() {
    let mut stage = stage();
    let session = stage.begun(5);
    let mut piece = session.write(&[1]).unwrap();
    stage.bench.poll();
    let mut payload = stage.bench.read().unwrap();
    payload[25] = 1;
    stage.bench.write(&payload);
    assert_eq!(stage.bench.poll(), NextPoll::OnSignal);
    let outcome = piece.take();
    assert!(matches!(
        outcome,
        Some(Err(FileCopyError::Request(RequestError::GuestFault(_))))
    ));
    assert!(matches!(stage.handle.link(), Link::Failed(_)));
    drop(session);
    assert_eq!(stage.bench.poll(), NextPoll::OnSignal);
}

#[test]
fn a_ring_too_small_for_pieces_refuses_them() {
    let (mut device, handle) = FileCopy::new(FileCopyOptions::default());
    let mut bench = Bench::open_with_pages(&mut device, 2);
    let mut guest = Guest::new(MessageType::FILE_COPY, V1_1);
    let mut files = Files::default();
    let mut run = |bench: &mut Bench| {
        bench.run_now(&mut guest, |_, body| files.act(body));
        files.told.clone()
    };
    run(&mut bench);
    let (session, mut start) = handle.start(&NewFile::new("/tmp", "f", 9)).unwrap();
    run(&mut bench);
    assert!(matches!(start.take(), Some(Ok(()))));
    let mut piece = session.write(&[1]).unwrap();
    let told = run(&mut bench);
    let outcome = piece.take();
    assert!(matches!(
        outcome,
        Some(Err(FileCopyError::Request(RequestError::TooLarge)))
    ));
    assert_eq!(told, [START, CANCEL]);
}

#[test]
fn messages_name_their_session() {
    let mut stage = stage();
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let (session, _start) = stage.handle.start(&NewFile::new("/tmp", "f", 1)).unwrap();
        stage.bench.poll();
        let mut payload = stage.bench.read().unwrap();
        sessions.push(payload[BODY_OFFSET + 20..BODY_OFFSET + 36].to_vec());
        let files = &mut stage.files;
        stage.guest.answer(&mut payload, |_, body| files.act(body));
        stage.bench.write(&payload);
        drop(session);
        stage.run();
    }
    assert_ne!(sessions[0], sessions[1]);
}
