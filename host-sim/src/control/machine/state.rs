//! What there is to see.

use serde_json::{Value, json};

use super::{ControlError, Machine, json};
use crate::ic::Link;

/// A service's state in a word.
fn link(link: Link) -> String {
    match link {
        Link::Closed => "closed".to_owned(),
        Link::Negotiating => "negotiating".to_owned(),
        Link::Ready(version) => format!("ready {version}"),
        Link::Failed(fault) => format!("failed: {fault}"),
    }
}

impl Machine {
    pub(super) fn status(&self) -> Result<Value, ControlError> {
        let services = &self.host.services;
        let bus = self.host.bus.snapshot();
        let state = |of: Option<Link>| of.map(link);
        Ok(json!({
            "name": self.host.name,
            "guest_os_id": format!("{:#018x}", self.hv.snapshot().guest_os_id),
            "vmbus": bus.server.version,
            "open_channels": bus.open.len(),
            "faults": bus.faults,
            "last_fault": bus.last_fault,
            "heartbeat": json(&services.heartbeat.status().contact)?,
            "shutdown": if services.shutdown.is_ready() { "ready" } else { "not ready" },
            "time_sync": services.time_sync.as_ref().map(|service| {
                service.version().map_or_else(|| "not ready".to_owned(), |version| format!("ready {version}"))
            }),
            "kvp": state(services.kvp.as_ref().map(|service| service.link())),
            "vss": state(services.vss.as_ref().map(|service| service.link())),
            "file_copy": state(services.file_copy.as_ref().map(|service| service.link())),
            "screen": services.video.as_ref().and_then(|video| video.mode()).map(|mode| {
                format!("{}x{}", mode.width, mode.height)
            }),
            "disks": self.host.disks.controllers().iter().map(|handle| handle.luns().len()).sum::<usize>(),
            "nics": self.host.adapters.list().len(),
        }))
    }

    pub(super) fn inspect(&self) -> Result<Value, ControlError> {
        let (host, services) = (&self.host, &self.host.services);
        let controllers = host.disks.controllers().iter();
        let controllers: Vec<_> = controllers.map(|handle| handle.snapshot()).collect();
        let ide: Vec<_> = host
            .disks
            .ide()
            .iter()
            .map(|handle| handle.snapshot())
            .collect();
        let adapters: Vec<_> = host
            .adapters
            .list()
            .into_iter()
            .map(|(index, handle)| (index, handle.snapshot()))
            .collect();
        Ok(json!({
            "name": host.name,
            "hypervisor": json(&self.hv.snapshot())?,
            "bus": json(&host.bus.snapshot())?,
            "traffic": json(&host.traffic())?,
            "controllers": json(&controllers)?,
            "ide": json(&ide)?,
            "nics": json(&adapters)?,
            "heartbeat": json(&services.heartbeat.status())?,
            "time_sync": json(&services.time_sync.as_ref().map(|service| service.status()))?,
            "kvp": services.kvp.as_ref().map(|service| link(service.link())),
            "vss": services.vss.as_ref().map(|service| link(service.link())),
            "file_copy": json(&services.file_copy.as_ref().map(|service| service.progress()))?,
            "keyboard": json(&services.keyboard.as_ref().map(|keyboard| keyboard.status()))?,
            "mouse": json(&services.mouse.as_ref().map(|mouse| mouse.status()))?,
            "screen": json(&services.video.as_ref().map(|video| video.status()))?,
        }))
    }
}
