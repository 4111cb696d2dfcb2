//! Orders to the guest.

use std::time::{Duration, Instant};

use ic_services::shutdown::Action;
use serde_json::{Value, json};

use super::{ControlError, ErrorKind, Machine};
use crate::control::request::{ShutdownAction, ShutdownRequest};
use crate::ic::shutdown::{Order, Progress};

/// How often the answer is looked for.
const LOOK: Duration = Duration::from_millis(10);

impl Machine {
    pub(super) fn shutdown(&self, request: &ShutdownRequest) -> Result<Value, ControlError> {
        let order = Order {
            action: match request.action {
                ShutdownAction::PowerOff => Action::PowerOff,
                ShutdownAction::Restart => Action::Restart,
                ShutdownAction::Hibernate => Action::Hibernate,
            },
            force: request.force,
            timeout_seconds: request.timeout,
            text: request.reason.clone(),
        };
        let service = &self.host.services.shutdown;
        service.order(&order)?;
        let begun = Instant::now();
        let patience = request.wait.map(|wait| Duration::from_secs(wait.into()));
        loop {
            let patience = match service.progress() {
                Progress::Accepted => return Ok(json!({"state": "accepted"})),
                Progress::Refused(code) => {
                    return Err(ControlError::new(
                        ErrorKind::Refused,
                        format!("the guest refused the order with {code:#010x}"),
                    ));
                }
                Progress::Abandoned | Progress::None => {
                    return Err(ControlError::new(
                        ErrorKind::Failed,
                        "the guest's shutdown service went away before it answered",
                    ));
                }
                Progress::Pending => patience,
            };
            let Some(patience) = patience else {
                return Ok(json!({"state": "pending"}));
            };
            if begun.elapsed() >= patience {
                return Err(ControlError::new(
                    ErrorKind::TimedOut,
                    "the guest has not answered the order yet",
                ));
            }
            std::thread::sleep(LOOK);
        }
    }
}
