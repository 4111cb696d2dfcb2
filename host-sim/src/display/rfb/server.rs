//! The thread that serves all clients.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::input::{ClientInput, Pointer, Stroke};
use super::listener::{ListenAddress, ListenError, Listener, Stream};
use super::scan::Scan;
use super::session::{Event, Session};
use crate::display::screen::{Keys, Pointing, Screen};

/// Most clients at a time; those beyond are turned away.
const MAX_CLIENTS: usize = 8;
/// Time between two looks at the screen while somebody waits for a change.
const LOOK_INTERVAL: Duration = Duration::from_millis(16);
/// Time between two comparisons of the whole screen, for guests that don't tell what they change.
const SCAN_INTERVAL: Duration = Duration::from_millis(100);
/// Time that a client has for its part of the handshake, and to take any of its output.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes read from a client in one turn.
const READ_SIZE: usize = 4096;
/// Writes to a client in one turn, so that one that reads quickly keeps neither the others nor the end waiting.
const WRITES_PER_TURN: usize = 16;

/// A guest's screen, keyboard and pointer.
#[derive(Clone)]
pub struct Console {
    /// What clients see.
    pub screen: Arc<dyn Screen>,
    /// Where their keys go.
    pub keys: Option<Arc<dyn Keys>>,
    /// Where their pointer goes.
    pub pointing: Option<Arc<dyn Pointing>>,
}

/// How a server is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RfbOptions {
    /// Where it listens.
    pub address: ListenAddress,
    /// What clients show as the screen's title.
    pub name: String,
}

/// A server for VNC clients. Dropping it disconnects them.
#[derive(Debug)]
pub struct RfbServer {
    address: ListenAddress,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Stop {
    is_over: AtomicBool,
    wake: EventFd,
}

impl RfbServer {
    /// Starts to serve.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn start(options: &RfbOptions, console: Console) -> Result<Self, ListenError> {
        let listener = Listener::bind(&options.address)?;
        let refuse = |source| ListenError::Socket {
            address: options.address.clone(),
            source,
        };
        let address = listener.address().map_err(refuse)?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_flags(flags).map_err(|error| refuse(error.into()))?;
        let stop = Arc::new(Stop {
            is_over: AtomicBool::new(false),
            wake,
        });
        let mut worker = Worker {
            name: options.name.clone(),
            console,
            listener,
            stop: Arc::clone(&stop),
            clients: Vec::new(),
            scan: Scan::default(),
            next_scan: Instant::now(),
        };
        let thread = std::thread::Builder::new()
            .name("rfb".into())
            .spawn(move || worker.run())
            .map_err(refuse)?;
        tracing::info!(%address, "serving VNC clients");
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it listens, with the port that was free.
    #[must_use]
    pub const fn address(&self) -> &ListenAddress {
        &self.address
    }
}

impl Drop for RfbServer {
    fn drop(&mut self) {
        self.stop.is_over.store(true, Ordering::Release);
        // An event that cannot be added is there already.
        let _ = self.stop.wake.write(1);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

struct Client {
    stream: Stream,
    session: Session,
    input: ClientInput,
    /// It counts among the screen's viewers.
    is_attached: bool,
    /// When the client last did what it has to do in time.
    progress: Instant,
}

struct Worker {
    name: String,
    console: Console,
    listener: Listener,
    stop: Arc<Stop>,
    clients: Vec<Client>,
    scan: Scan,
    next_scan: Instant,
}

impl Worker {
    fn run(&mut self) {
        while !self.stop.is_over.load(Ordering::Acquire) {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::error!(%error, "VNC server stops");
                    break;
                }
            };
            let mut ready = ready.into_iter();
            if ready.next() == Some(true) {
                self.accept();
            }
            // Clients accepted just now have nothing yet.
            let readable: Vec<_> = ready.collect();
            self.look();
            for index in (0..self.clients.len()).rev() {
                let is_readable = readable.get(index).copied().unwrap_or(false);
                if let Err(reason) = self.serve(index, is_readable) {
                    let client = self.clients.remove(index);
                    tracing::debug!(%reason, "VNC client disconnected");
                    self.leave(client);
                }
            }
        }
        for client in std::mem::take(&mut self.clients) {
            self.leave(client);
        }
    }

    /// Waits for something to do. Whether there is a connection, and for each client whether there is input.
    fn wait(&self) -> io::Result<Vec<bool>> {
        let mut fds = vec![
            PollFd::new(self.stop.wake.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
        ];
        for client in &self.clients {
            // Who doesn't take answers isn't asked for more questions.
            let flags = if client.session.output().is_empty() {
                PollFlags::POLLIN
            } else {
                PollFlags::POLLOUT
            };
            fds.push(PollFd::new(client.stream.as_fd(), flags));
        }
        let is_looking = self
            .clients
            .iter()
            .any(|client| client.session.wants_update());
        // Without a viewer, only the patience with the others matters.
        let timeout = if is_looking {
            LOOK_INTERVAL
        } else {
            Duration::from_secs(1)
        };
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready = |fd: &PollFd<'_>| {
            let hung_up = PollFlags::POLLHUP | PollFlags::POLLERR;
            fd.revents()
                .is_some_and(|events| events.intersects(PollFlags::POLLIN | hung_up))
        };
        Ok(fds.iter().skip(1).map(is_ready).collect())
    }

    fn accept(&mut self) {
        match self.listener.accept() {
            Ok(Some(_)) if self.clients.len() >= MAX_CLIENTS => {
                tracing::warn!("VNC client turned away: there are {MAX_CLIENTS} already");
            }
            Ok(Some(stream)) => self.clients.push(Client {
                stream,
                session: Session::new(&self.name),
                input: ClientInput::default(),
                is_attached: false,
                progress: Instant::now(),
            }),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "VNC client lost");
                // Out of descriptors, most likely: the connection stays, and so would our wakefulness.
                std::thread::sleep(LOOK_INTERVAL);
            }
        }
    }

    /// Compares the screen if the guest doesn't tell what changes, and gives updates to those who wait.
    fn look(&mut self) {
        if !self
            .clients
            .iter()
            .any(|client| client.session.wants_update())
        {
            return;
        }
        let screen = &*self.console.screen;
        let now = Instant::now();
        if !screen.state().reports_damage && now >= self.next_scan {
            self.next_scan = now + SCAN_INTERVAL;
            if let Ok(changes) = self.scan.changes(screen) {
                for client in &mut self.clients {
                    client.session.add_damage(&changes);
                }
            }
        }
        for client in &mut self.clients {
            client.session.refresh(screen);
        }
    }

    /// Moves bytes of one client.
    fn serve(&mut self, index: usize, is_readable: bool) -> Result<(), String> {
        let Self {
            clients, console, ..
        } = self;
        let client = &mut clients[index];
        if is_readable && client.session.output().is_empty() {
            let mut buffer = [0; READ_SIZE];
            match client.stream.read(&mut buffer) {
                Ok(0) => return Err("the client has gone".into()),
                Ok(count) => {
                    let received = receive(client, console, &buffer[..count]);
                    if let Err(error) = received {
                        // The reason, if there is one, on the way out.
                        let _ = client.stream.write(client.session.output());
                        return Err(error);
                    }
                }
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        for _ in 0..WRITES_PER_TURN {
            if client.session.output().is_empty() {
                break;
            }
            match client.stream.write(client.session.output()) {
                Ok(0) => return Err("the client takes nothing".into()),
                Ok(count) => {
                    client.session.sent(count);
                    if client.session.is_running() {
                        client.progress = Instant::now();
                    }
                }
                Err(error) if is_transient(&error) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        let is_waited_for = !client.session.is_running() || !client.session.output().is_empty();
        if !is_waited_for {
            client.progress = Instant::now();
        } else if client.progress.elapsed() > PATIENCE {
            return Err("the client is too slow".into());
        }
        Ok(())
    }

    fn leave(&self, mut client: Client) {
        let (keys, pointer) = client.input.release();
        press(&self.console, &keys);
        if let Some(pointer) = pointer {
            point(&self.console, pointer);
        }
        if client.is_attached {
            self.console.screen.detach();
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn receive(client: &mut Client, console: &Console, bytes: &[u8]) -> Result<(), String> {
    let screen = &*console.screen;
    let mut events = Vec::new();
    let result = client
        .session
        .receive(bytes, screen, |event| events.push(event));
    for event in events {
        match event {
            Event::Started => {
                client.is_attached = true;
                screen.attach();
            }
            Event::Key { keysym, pressed } => {
                press(console, &client.input.key(keysym, pressed));
            }
            Event::Pointer { buttons, x, y } => {
                // A client that is not told of new sizes shows a part of the picture, no other scale.
                let size = screen.state().size.unwrap_or(client.session.size());
                point(console, client.input.pointer(buttons, x, y, size));
            }
        }
    }
    result.map_err(|error| error.to_string())
}

fn press(console: &Console, strokes: &[Stroke]) {
    if let Some(keys) = &console.keys {
        for (key, pressed) in strokes {
            // A guest without a driver for it gets no keys.
            let _ = keys.key(*key, *pressed);
        }
    }
}

fn point(console: &Console, pointer: Pointer) {
    if let Some(pointing) = &console.pointing {
        // As above.
        let _ = pointing.point(pointer.x, pointer.y, pointer.buttons, pointer.wheel);
    }
}
