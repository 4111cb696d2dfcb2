//! The control socket: an operator's verbs for a machine that runs.
//!
//! A Unix stream socket that only its owner can reach carries JSON, one object a line in each direction. A request
//! names a verb and its parameters ([`Request`]); the answer is `{"ok": RESULT}` or
//! `{"error": {"kind": KIND, "message": TEXT}}` ([`Response`]). Requests of one connection are answered in their
//! order; several connections are served at once.
//!
//! ```text
//! {"verb": "status"}
//! {"verb": "shutdown", "action": "restart", "wait": 30}
//! {"verb": "disk", "operation": "add", "lun": 3, "disk": "/images/data.vhd,ro"}
//! ```
//!
//! `host-sim ctl NAME VERB …` is a client with the same verbs: [`Request`] is both the JSON and its command line.
//! All verbs with examples are in `docs/control.md`.

mod client;
mod error;
mod machine;
mod named;
pub mod path;
mod request;
mod server;
mod wire;

pub use client::{Client, ClientError};
pub use error::{ControlError, ErrorKind};
pub use machine::{Machine, Power};
pub use request::*;
pub use server::{Control, ControlServer, ListenError};
pub use wire::{MAX_REQUEST, Response};
