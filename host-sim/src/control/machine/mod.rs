//! The verbs, carried out on a host and its guest.

mod clock;
mod disk;
mod files;
mod input;
mod kvp;
mod nic;
mod power;
mod refusal;
mod state;

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::error::{ControlError, ErrorKind};
use super::request::Request;
use super::server::Control;
use crate::host::Host;
use crate::hv::Hv;

/// Ends a machine's run, or begins it anew.
pub trait Power: Send + Sync {
    /// The machine is to be stopped by force, and the run to end.
    fn quit(&self);

    /// The machine is to be reset by force.
    ///
    /// # Errors
    /// Why it cannot be.
    fn reset(&self) -> Result<(), ControlError>;

    /// Somebody presses the power button: the guest decides what that means.
    ///
    /// # Errors
    /// There is no button.
    fn press_power_button(&self) -> Result<(), ControlError>;
}

/// A machine with its control socket's verbs.
pub struct Machine {
    host: Arc<Host>,
    hv: Arc<Hv>,
    power: Arc<dyn Power>,
}

impl Machine {
    /// The verbs for a host, the hypervisor under it and who runs both.
    #[must_use]
    pub fn new(host: Arc<Host>, hv: Arc<Hv>, power: Arc<dyn Power>) -> Self {
        Self { host, hv, power }
    }
}

impl Control for Machine {
    fn execute(&self, request: Request) -> Result<Value, ControlError> {
        tracing::debug!(?request, "control");
        match request {
            Request::Status {} => self.status(),
            Request::Heartbeat {} => json(&self.host.services.heartbeat.status()),
            Request::Shutdown(order) => self.shutdown(&order),
            Request::Kvp(request) => self.kvp(request),
            Request::Vss(request) => self.vss(request),
            Request::CopyFile(copy) => self.copy_file(&copy),
            Request::TimeSync(time) => self.time_sync(&time),
            Request::Disk(request) => self.disk(request),
            Request::Dvd(request) => self.dvd(request),
            Request::Nic(request) => self.nic(request),
            Request::Screenshot { path } => self.screenshot(&path),
            Request::Keys(keys) => self.keys(&keys),
            Request::Mouse(mouse) => self.mouse(&mouse),
            Request::Inspect {} => self.inspect(),
            Request::PowerButton {} => self.power.press_power_button().map(|()| done()),
            Request::Reset {} => self.power.reset().map(|()| done()),
            Request::Quit {} => {
                self.power.quit();
                Ok(done())
            }
        }
    }
}

/// The answer of a verb that has nothing to tell.
fn done() -> Value {
    Value::Object(serde_json::Map::new())
}

/// Something as JSON.
fn json(value: &impl Serialize) -> Result<Value, ControlError> {
    serde_json::to_value(value).map_err(|error| ControlError::new(ErrorKind::Failed, error))
}

/// A device, if the machine has it.
fn device<'a, T>(device: Option<&'a T>, name: &str) -> Result<&'a T, ControlError> {
    device.ok_or_else(|| {
        ControlError::new(ErrorKind::NoDevice, format!("this machine has no {name}"))
    })
}
