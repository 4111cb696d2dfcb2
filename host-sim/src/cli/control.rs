//! A run's control socket, and what it orders of the run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use host_sim::control::path::socket_path;
use host_sim::control::{ControlError, ControlServer, ErrorKind, Machine, Power};
use host_sim::host::Host;
use host_sim::hv::Hv;

use super::Error;

/// Orders that wait for the run's thread.
#[derive(Default)]
pub(super) struct Orders {
    quit: AtomicBool,
    reset: AtomicBool,
    button: AtomicBool,
    /// Whether this run can begin anew, and has a power button.
    is_pc: bool,
}

impl Orders {
    /// None yet, for a machine that is a PC or not.
    pub(super) fn new(is_pc: bool) -> Arc<Self> {
        Arc::new(Self {
            is_pc,
            ..Self::default()
        })
    }

    /// Whether the run is to end.
    pub(super) fn is_quit(&self) -> bool {
        self.quit.load(Ordering::Acquire)
    }

    /// Whether the machine is to be reset; the order is then taken.
    pub(super) fn take_reset(&self) -> bool {
        self.reset.swap(false, Ordering::AcqRel)
    }

    /// Whether somebody has pressed the power button; the press is then taken.
    pub(super) fn take_button(&self) -> bool {
        self.button.swap(false, Ordering::AcqRel)
    }

    fn order(&self, order: &AtomicBool) -> Result<(), ControlError> {
        if !self.is_pc {
            return Err(ControlError::new(
                ErrorKind::NoDevice,
                "only a machine with a stock kernel can be reset, or has a power button",
            ));
        }
        order.store(true, Ordering::Release);
        Ok(())
    }
}

impl Power for Orders {
    fn quit(&self) {
        self.quit.store(true, Ordering::Release);
    }

    fn reset(&self) -> Result<(), ControlError> {
        self.order(&self.reset)
    }

    fn press_power_button(&self) -> Result<(), ControlError> {
        self.order(&self.button)
    }
}

/// Serves the machine's control socket, if it has a name.
pub(super) fn serve(
    name: Option<&str>,
    host: &Arc<Host>,
    hv: &Arc<Hv>,
    orders: &Arc<Orders>,
) -> Result<Option<ControlServer>, Error> {
    let Some(name) = name else {
        return Ok(None);
    };
    let power = Arc::clone(orders) as Arc<dyn Power>;
    let machine = Machine::new(Arc::clone(host), Arc::clone(hv), power);
    ControlServer::start(&socket_path(name), Arc::new(machine))
        .map(Some)
        .map_err(Error::failed)
}
