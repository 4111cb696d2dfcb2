//! Network adapters.

use serde_json::{Value, json};
use vmbus_core::guid::Guid;

use super::{ControlError, ErrorKind, Machine, done, json};
use crate::control::request::{LinkState, NicRequest};
use crate::net::NicArgument;
use crate::vsp::network::NetworkHandle;

impl Machine {
    pub(super) fn adapter(&self, index: u8) -> Result<NetworkHandle, ControlError> {
        Ok(self.host.adapters.get(index)?)
    }

    pub(super) fn adapter_instance(&self, index: u8) -> Result<Guid, ControlError> {
        Ok(self.host.adapters.instance(index)?)
    }

    pub(super) fn nic(&self, request: NicRequest) -> Result<Value, ControlError> {
        let adapters = &self.host.adapters;
        match request {
            NicRequest::List {} => {
                let list = adapters.list().into_iter().map(|(index, handle)| {
                    let mut entry = json(&handle.snapshot())?;
                    entry["index"] = index.into();
                    Ok(entry)
                });
                Ok(Value::Array(list.collect::<Result<_, ControlError>>()?))
            }
            NicRequest::Add { nic } => {
                let nic: NicArgument = nic
                    .parse()
                    .map_err(|error| ControlError::new(ErrorKind::Invalid, error))?;
                Ok(json!({"index": adapters.add(&nic)?}))
            }
            NicRequest::Remove { index } => {
                adapters.remove(index)?;
                Ok(done())
            }
            NicRequest::Link { index, state } => {
                adapters.get(index)?.set_link(state == LinkState::Up);
                Ok(done())
            }
        }
    }
}
