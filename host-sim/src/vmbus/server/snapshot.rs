//! The server's state as an operator sees it.

use serde::Serialize;

use super::Server;

/// Messages that came in, and those that led to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServerCounters {
    /// Messages received.
    pub received: u64,
    /// Of those, dropped as malformed or not part of the connection's version.
    pub malformed: u64,
    /// Of those, dropped because they made no sense in their state.
    pub unexpected: u64,
    /// GPADLs refused.
    pub gpadls_refused: u64,
    /// Opens refused.
    pub opens_refused: u64,
    /// Connections made.
    pub connections: u64,
}

/// One channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChannelSnapshot {
    /// Its id.
    pub id: u32,
    /// Class of its device, by name where it has one.
    pub class: String,
    /// Its device's instance.
    pub instance: String,
    /// 0 for the primary channel.
    pub sub_channel_index: u16,
    /// State of the channel.
    pub phase: &'static str,
}

/// The server's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerSnapshot {
    /// Version in force.
    pub version: Option<String>,
    /// All channels that the guest knows of.
    pub channels: Vec<ChannelSnapshot>,
    /// GPADLs that live.
    pub gpadls: usize,
    /// Pages that they have.
    pub gpadl_pages: u64,
    /// Counters.
    pub counters: ServerCounters,
}

impl Server {
    /// The state now.
    #[must_use]
    pub fn snapshot(&self) -> ServerSnapshot {
        let channels = self.channels.iter().map(|(id, channel)| {
            let interface = channel.interface();
            ChannelSnapshot {
                id: id.0,
                class: vmbus_core::class::name(&interface)
                    .map_or_else(|| interface.to_string(), str::to_owned),
                instance: channel.instance().to_string(),
                sub_channel_index: channel.sub_channel_index(),
                phase: channel.phase().name(),
            }
        });
        ServerSnapshot {
            version: self.version().map(|version| version.to_string()),
            channels: channels.collect(),
            gpadls: self.gpadls.len(),
            gpadl_pages: self.gpadls.pages(),
            counters: self.counters,
        }
    }
}
