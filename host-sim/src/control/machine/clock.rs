//! The guest's clock.

use serde_json::Value;

use super::{ControlError, ErrorKind, Machine, device, json};
use crate::control::request::TimeSyncRequest;

/// 100 ns units in a second.
const UNITS: i64 = 10_000_000;

impl Machine {
    pub(super) fn time_sync(&self, request: &TimeSyncRequest) -> Result<Value, ControlError> {
        let service = device(
            self.host.services.time_sync.as_ref(),
            "time synchronisation",
        )?;
        let offset = request.offset.checked_mul(UNITS).ok_or_else(|| {
            ControlError::new(ErrorKind::Invalid, "the offset is beyond all time")
        })?;
        service.set_offset(offset);
        service.force_sync();
        json(&service.status())
    }
}
