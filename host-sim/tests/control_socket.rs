//! The control socket: its protocol, its permissions, and clients that misbehave.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Barrier, Condvar, Mutex};

use host_sim::control::{
    Client, ClientError, Control, ControlError, ControlServer, ErrorKind, ListenError, MAX_REQUEST,
    Request,
};
use serde_json::{Value, json};

/// Answers with the request, refuses `quit`, waits in `reset` until the test comes too, and in `screenshot` until the
/// gate is open.
struct Echo(Barrier, Gate);

/// Closed at first. Counts those who wait.
#[derive(Default)]
struct Gate {
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Gate {
    fn wait(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |(_, is_open)| !*is_open));
    }

    fn wait_for(&self, count: usize) {
        let state = self.state.lock().unwrap();
        drop(
            self.changed
                .wait_while(state, |(waiting, _)| *waiting < count),
        );
    }

    fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

impl Control for Echo {
    fn execute(&self, request: Request) -> Result<Value, ControlError> {
        match request {
            Request::Quit {} => Err(ControlError::new(ErrorKind::Refused, "never")),
            Request::Reset {} => {
                self.0.wait();
                Ok(Value::Null)
            }
            Request::Screenshot { .. } => {
                self.1.wait();
                Ok(Value::Null)
            }
            request => Ok(serde_json::to_value(request).unwrap()),
        }
    }
}

struct Machine {
    server: Option<ControlServer>,
    echo: Arc<Echo>,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

fn machine() -> Machine {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let echo = Arc::new(Echo(Barrier::new(2), Gate::default()));
    let server = ControlServer::start(&path, Arc::clone(&echo) as Arc<dyn Control>).unwrap();
    Machine {
        server: Some(server),
        echo,
        path,
        _folder: folder,
    }
}

/// Sends raw bytes and returns the answer's line.
fn raw(stream: &mut BufReader<UnixStream>, bytes: &[u8]) -> Value {
    stream.get_mut().write_all(bytes).unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn requests_are_answered_in_order() {
    let machine = machine();
    let mut client = Client::connect(&machine.path).unwrap();
    for _ in 0..3 {
        assert_eq!(
            client.call(&Request::Status {}).unwrap(),
            json!({"verb": "status"})
        );
        let refused = client.call(&Request::Quit {}).unwrap_err();
        let ClientError::Refused(error) = refused else {
            panic!("{refused}");
        };
        assert_eq!(error, ControlError::new(ErrorKind::Refused, "never"));
    }
}

#[test]
fn malformed_requests_get_an_error_and_the_connection_goes_on() {
    let machine = machine();
    let mut stream = BufReader::new(UnixStream::connect(&machine.path).unwrap());
    for bytes in [
        "\n",
        "{\n",
        "null\n",
        "{\"verb\":\"dance\"}\n",
        // Without names, what is meant is a guess; a parameter that is not known must not be passed over.
        "[\"quit\"]\n",
        "{\"verb\":\"quit\",\"dry-run\":true}\n",
        "{\"verb\":\"status\"} {}\n",
        "\u{0}\u{7f}\n",
    ] {
        let answer = raw(&mut stream, bytes.as_bytes());
        assert_eq!(answer["error"]["kind"], "malformed", "{bytes:?}");
    }
    let answer = raw(&mut stream, b"\xFF\xFE\n");
    assert_eq!(answer["error"]["kind"], "malformed");
    let deep = "[".repeat(100_000) + "\n";
    let answer = raw(&mut stream, deep.as_bytes());
    assert_eq!(answer["error"]["kind"], "malformed");
    let answer = raw(&mut stream, b"{\"verb\":\"status\"}\n");
    assert_eq!(answer["ok"]["verb"], "status");
}

#[test]
fn a_request_without_end_ends_the_connection() {
    let machine = machine();
    let stream = UnixStream::connect(&machine.path).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let flood = std::thread::spawn(move || {
        let _ = writer.write_all(&vec![b' '; usize::try_from(2 * MAX_REQUEST).unwrap()]);
    });
    let mut answer = String::new();
    // The rest of the flood is not read, so the connection may end with a reset.
    let _ = BufReader::new(stream).read_line(&mut answer);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["error"]["kind"], "malformed");
    flood.join().unwrap();
}

#[test]
fn a_request_cut_short_is_no_request() {
    let machine = machine();
    let mut stream = UnixStream::connect(&machine.path).unwrap();
    stream.write_all(b"{\"verb\":").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["error"]["kind"], "malformed");
}

#[test]
fn only_the_owner_can_connect() {
    let machine = machine();
    let mode = fs::metadata(&machine.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_waiting_client_keeps_nobody_else_waiting() {
    let machine = machine();
    let path = machine.path.clone();
    let waiting = std::thread::spawn(move || {
        Client::connect(&path)
            .unwrap()
            .call(&Request::Reset {})
            .unwrap()
    });
    let mut other = Client::connect(&machine.path).unwrap();
    assert!(other.call(&Request::Heartbeat {}).is_ok());
    machine.echo.0.wait();
    assert_eq!(waiting.join().unwrap(), Value::Null);
}

#[test]
fn connections_are_limited_and_come_free_again() {
    let machine = machine();
    let mut clients: Vec<_> = (0..16)
        .map(|_| Client::connect(&machine.path).unwrap())
        .collect();
    for client in &mut clients {
        client.call(&Request::Status {}).unwrap();
    }
    let mut extra = BufReader::new(UnixStream::connect(&machine.path).unwrap());
    let mut answer = String::new();
    extra.read_line(&mut answer).unwrap();
    assert!(answer.contains("busy"), "{answer}");
    clients.clear();
    // The threads of those that are gone end soon after.
    let again = (0..1000).find_map(|_| {
        let mut client = Client::connect(&machine.path).unwrap();
        let answer = client.call(&Request::Status {}).ok();
        std::thread::sleep(std::time::Duration::from_millis(5));
        answer
    });
    assert!(again.is_some());
}

#[test]
fn those_who_wait_for_the_guest_leave_room_for_those_who_stop_it() {
    let machine = machine();
    let request = Request::Screenshot { path: "p".into() };
    let waiting: Vec<_> = (0..12)
        .map(|_| {
            let mut client = Client::connect(&machine.path).unwrap();
            let request = request.clone();
            std::thread::spawn(move || client.call(&request).unwrap())
        })
        .collect();
    machine.echo.1.wait_for(12);
    let mut client = Client::connect(&machine.path).unwrap();
    let Err(ClientError::Refused(error)) = client.call(&request) else {
        panic!("a thirteenth waits");
    };
    assert_eq!(error.kind, ErrorKind::Busy);
    let Err(ClientError::Refused(error)) = client.call(&Request::Quit {}) else {
        panic!("this machine never quits");
    };
    assert_eq!(error.kind, ErrorKind::Refused);
    machine.echo.1.open();
    for client in waiting {
        assert_eq!(client.join().unwrap(), Value::Null);
    }
    assert_eq!(client.call(&request).unwrap(), Value::Null);
}

#[test]
fn the_socket_goes_with_its_server_and_clients_see_the_end() {
    let mut machine = machine();
    let mut client = Client::connect(&machine.path).unwrap();
    client.call(&Request::Status {}).unwrap();
    drop(machine.server.take());
    assert!(!machine.path.exists());
    assert!(matches!(
        client.call(&Request::Status {}),
        Err(ClientError::Ended | ClientError::Socket(_))
    ));
}

#[test]
fn a_place_in_use_is_left_alone() {
    let machine = machine();
    let again = ControlServer::start(&machine.path, Arc::clone(&machine.echo) as Arc<dyn Control>);
    assert!(matches!(again, Err(ListenError::InUse(_))));
    assert!(
        Client::connect(&machine.path)
            .unwrap()
            .call(&Request::Status {})
            .is_ok()
    );

    let file = machine.path.with_file_name("file");
    fs::write(&file, "precious").unwrap();
    let on_file = ControlServer::start(&file, Arc::clone(&machine.echo) as Arc<dyn Control>);
    assert!(matches!(on_file, Err(ListenError::NotASocket(_))));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");

    let nowhere = machine.path.with_file_name("missing").join("socket");
    let nowhere = ControlServer::start(&nowhere, Arc::clone(&machine.echo) as Arc<dyn Control>);
    assert!(matches!(nowhere, Err(ListenError::Host { .. })));
}

#[test]
fn a_socket_left_behind_is_replaced() {
    let mut machine = machine();
    drop(machine.server.take());
    drop(UnixListener::bind(&machine.path).unwrap());
    assert!(machine.path.exists());
    let server = ControlServer::start(&machine.path, Arc::clone(&machine.echo) as Arc<dyn Control>);
    assert_eq!(server.unwrap().path(), machine.path);
}
