//! Answers that a rescind has overtaken.
//!
//! A host that takes a channel back may still answer what it was asked before. Such an answer is of no use,
//! but no lie either, so it is told from answers to nothing.

use super::channels::{ChannelRecord, Link};
use super::memory::GpadlState;
use super::{ChannelKey, Connection, Purpose};
use crate::protocol::{ChannelId, GpadlId, HostMessage};

/// Answers that are remembered. Beyond that the oldest are forgotten, and count as unexpected when they come.
const LATE_MAX: usize = 256;

/// An answer that may yet come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Late {
    Created(GpadlId),
    Torndown(GpadlId),
    Opened(ChannelId, u32),
    Modified(ChannelId),
}

impl Late {
    /// What a message may be the late answer to.
    fn of(message: &HostMessage) -> Option<Self> {
        match message {
            HostMessage::GpadlCreated(created) => Some(Self::Created(created.gpadl_id)),
            HostMessage::GpadlTorndown(torndown) => Some(Self::Torndown(torndown.gpadl_id)),
            HostMessage::OpenChannelResult(result) => {
                Some(Self::Opened(result.channel_id, result.open_id))
            }
            HostMessage::ModifyChannelResponse(response) => {
                Some(Self::Modified(response.channel_id))
            }
            _ => None,
        }
    }
}

impl Connection {
    /// Remembers what the host has been asked about a channel that it takes back. To be called before what
    /// is still queued is dropped.
    pub(super) fn remember_late(&mut self, channel: ChannelKey) {
        let Some(record) = self.record(channel) else {
            return;
        };
        let asked = self.asked_of(channel, record);
        for late in asked {
            if self.late.len() >= LATE_MAX {
                self.late.pop_front();
            }
            self.late.push_back(late);
        }
    }

    fn asked_of(&self, channel: ChannelKey, record: &ChannelRecord) -> alloc::vec::Vec<Late> {
        let queued = |wanted: &dyn Fn(&Purpose) -> bool| self.queue.iter().any(wanted);
        let mut asked = alloc::vec::Vec::new();
        if let Link::Opening { open_id, .. } | Link::Abandoned { open_id } = record.link
            && !queued(&|purpose| matches!(purpose, Purpose::Open(key, _) if *key == channel))
        {
            asked.push(Late::Opened(channel.id, open_id));
        }
        if record.modifying.is_some()
            && !queued(&|purpose| matches!(purpose, Purpose::Modify(key, _) if *key == channel))
        {
            asked.push(Late::Modified(channel.id));
        }
        for (gpadl, record) in &self.gpadls {
            if record.channel != channel
                || queued(&|purpose| match purpose {
                    Purpose::Gpadl(_, id, _) | Purpose::Teardown(_, id) => id == gpadl,
                    _ => false,
                })
            {
                continue;
            }
            match record.state {
                GpadlState::Creating { .. } => asked.push(Late::Created(*gpadl)),
                GpadlState::TearingDown { .. } | GpadlState::Leaked { asked: true } => {
                    asked.push(Late::Torndown(*gpadl));
                }
                _ => {}
            }
        }
        asked
    }

    /// Whether a message is such an answer. Each is one once.
    pub(super) fn take_late(&mut self, message: &HostMessage) -> bool {
        let Some(late) = Late::of(message) else {
            return false;
        };
        match self.late.iter().position(|known| *known == late) {
            Some(at) => {
                self.late.remove(at);
                true
            }
            None => false,
        }
    }
}
