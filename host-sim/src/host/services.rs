//! The integration services, keyboard, mouse and screen of one host.

use super::options::Offers;
use super::{HostError, HostOptions};
use crate::ic::file_copy::{FileCopy, FileCopyHandle, FileCopyOptions};
use crate::ic::heartbeat::{Heartbeat, HeartbeatHandle};
use crate::ic::kvp::{HostItem, Kvp, KvpHandle, KvpOptions, Value};
use crate::ic::shutdown::{Shutdown, ShutdownHandle};
use crate::ic::time_sync::{TimeSync, TimeSyncHandle, TimeSyncOptions};
use crate::ic::vss::{Vss, VssHandle, VssOptions};
use crate::vmbus::vsp::Vsp;
use crate::vsp::keyboard::{Keyboard, KeyboardHandle};
use crate::vsp::mouse::{Mouse, MouseHandle};
use crate::vsp::video::{Video, VideoHandle};

/// The services, each if it is offered.
pub struct Services {
    /// Whether the guest answers.
    pub heartbeat: HeartbeatHandle,
    /// Orders to the guest.
    pub shutdown: ShutdownHandle,
    /// The guest's clock.
    pub time_sync: Option<TimeSyncHandle>,
    /// Keys and values.
    pub kvp: Option<KvpHandle>,
    /// Backup.
    pub vss: Option<VssHandle>,
    /// Files into the guest.
    pub file_copy: Option<FileCopyHandle>,
    /// The keyboard.
    pub keyboard: Option<KeyboardHandle>,
    /// The mouse.
    pub mouse: Option<MouseHandle>,
    /// The screen.
    pub video: Option<VideoHandle>,
}

/// A list of devices to be offered, in their order.
#[derive(Default)]
struct Devices(Vec<Box<dyn Vsp>>);

impl Devices {
    /// Keeps a device for the bus, and gives its handle to the caller.
    fn keep<H>(&mut self, (device, handle): (impl Vsp + 'static, H)) -> H {
        self.0.push(Box::new(device));
        handle
    }
}

impl Services {
    /// Makes the services that the options and their generation have.
    pub(super) fn new(options: &HostOptions) -> Result<(Self, Vec<Box<dyn Vsp>>), HostError> {
        let (generation, mut devices) = (options.generation, Devices::default());
        let offered = |device: Offers| options.offers.contains(device);
        let heartbeat = devices.keep(Heartbeat::with_versions(
            options.heartbeat_interval,
            generation.heartbeat(),
        ));
        let shutdown = devices.keep(Shutdown::with_versions(generation.shutdown()));
        let time_sync = offered(Offers::TIME_SYNC).then(|| {
            devices.keep(TimeSync::new(TimeSyncOptions {
                versions: generation.time_sync(),
                ..TimeSyncOptions::default()
            }))
        });
        let kvp = if offered(Offers::KVP) {
            let name = Value::Text(options.name.clone());
            let options = KvpOptions {
                versions: generation.kvp(),
                host_items: vec![HostItem::new("VirtualMachineName", &name)?],
                ..KvpOptions::default()
            };
            Some(devices.keep(Kvp::new(options)))
        } else {
            None
        };
        let vss = generation.vss().filter(|_| offered(Offers::VSS));
        let vss = vss.map(|versions| {
            devices.keep(Vss::new(VssOptions {
                versions,
                ..VssOptions::default()
            }))
        });
        let file_copy = generation.file_copy();
        let file_copy = file_copy.filter(|_| offered(Offers::FILE_COPY));
        let file_copy = file_copy.map(|versions| {
            devices.keep(FileCopy::new(FileCopyOptions {
                versions,
                ..FileCopyOptions::default()
            }))
        });
        let keyboard = offered(Offers::KEYBOARD).then(|| devices.keep(Keyboard::new()));
        let mouse = offered(Offers::MOUSE).then(|| devices.keep(Mouse::new()));
        let video = match &options.screen {
            Some(screen) => {
                Some(devices.keep(Video::new(screen.options.clone(), screen.mapper.clone())?))
            }
            None => None,
        };
        let services = Self {
            heartbeat,
            shutdown,
            time_sync,
            kvp,
            vss,
            file_copy,
            keyboard,
            mouse,
            video,
        };
        Ok((services, devices.0))
    }
}
