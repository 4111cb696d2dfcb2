//! GPADLs: memory that the guest lends to channels and their devices.

use std::sync::Arc;

use vmbus_core::protocol::{
    ChannelId, GpadlBody, GpadlCreated, GpadlHeader, GpadlId, GpadlTeardown, GpadlTorndown,
    ReplyStatus,
};

use super::Server;
use super::channels::ChannelPhase;
use crate::vmbus::gpadl::{Gpadl, Progress};

impl Server {
    pub(super) fn gpadl_header(&mut self, header: &GpadlHeader<'_>) {
        if !self.channels.contains_key(&header.channel_id) {
            self.unexpected("GPADL for an unknown channel");
            return self.gpadl_created(header.channel_id, header.gpadl_id, false);
        }
        let progress = self.gpadls.begin(header, &self.memory);
        self.gpadl_progress(header.gpadl_id, progress);
    }

    pub(super) fn gpadl_body(&mut self, body: &GpadlBody<'_>) {
        let progress = self.gpadls.continue_with(body, &self.memory);
        self.gpadl_progress(body.gpadl_id, progress);
    }

    fn gpadl_progress(&mut self, gpadl_id: GpadlId, progress: Progress) {
        match progress {
            Progress::Incomplete => {}
            Progress::Unknown => self.unexpected("continuation of an unknown GPADL"),
            Progress::Finished(channel_id, result) => {
                if let Err(fault) = result {
                    tracing::debug!(channel = channel_id.0, %fault, "GPADL refused");
                }
                self.gpadl_created(channel_id, gpadl_id, result.is_ok());
            }
        }
    }

    fn gpadl_created(&mut self, channel_id: ChannelId, gpadl_id: GpadlId, accepted: bool) {
        let status = if accepted {
            ReplyStatus::SUCCESS
        } else {
            ReplyStatus::FAILED
        };
        self.counters.gpadls_refused += u64::from(!accepted);
        self.send(GpadlCreated {
            channel_id,
            gpadl_id,
            status,
        });
    }

    pub(super) fn gpadl_teardown(&mut self, teardown: &GpadlTeardown) {
        let GpadlTeardown {
            channel_id,
            gpadl_id,
        } = *teardown;
        let owner = self.gpadls.get(gpadl_id).map(|gpadl| gpadl.channel_id);
        let Some(channel) = self.channels.get_mut(&channel_id) else {
            return self.unexpected("teardown for an unknown channel");
        };
        if owner != Some(channel_id) {
            if channel.phase == ChannelPhase::Rescinded && owner.is_none() {
                return self.send(GpadlTorndown { gpadl_id });
            }
            return self.unexpected("teardown of no GPADL of this channel");
        }
        let in_use = channel.ring == Some(gpadl_id) && channel.phase != ChannelPhase::Closed;
        if in_use {
            // The guest has forgotten to close first, or the close is under way: the answer waits for its end.
            if !channel.torndown_later.contains(&gpadl_id) {
                channel.torndown_later.push(gpadl_id);
            }
        } else {
            self.tear_down_unless_lent(channel_id, gpadl_id);
        }
    }

    /// Tears down a GPADL that is no ring's, at once or when its device has returned it.
    pub(super) fn tear_down_unless_lent(&mut self, channel_id: ChannelId, gpadl_id: GpadlId) {
        if !self.gpadls.is_lent(gpadl_id) {
            return self.tear_down(gpadl_id);
        }
        if let Some(channel) = self.channels.get_mut(&channel_id)
            && !channel.torndown_later.contains(&gpadl_id)
        {
            channel.torndown_later.push(gpadl_id);
        }
    }

    /// Takes a GPADL of an open channel into use for its device; `None` if there is no such one, or if the guest is
    /// taking it back. The use ends with the reference; [`gpadl_returned`](Self::gpadl_returned) has to be called
    /// then.
    #[must_use]
    pub fn lend_gpadl(&self, channel_id: ChannelId, gpadl_id: GpadlId) -> Option<Arc<Gpadl>> {
        let channel = self.channels.get(&channel_id)?;
        let usable = matches!(channel.phase, ChannelPhase::Opening | ChannelPhase::Open)
            && channel.ring != Some(gpadl_id)
            && !channel.torndown_later.contains(&gpadl_id);
        self.gpadls
            .get(gpadl_id)
            .filter(|gpadl| usable && gpadl.channel_id == channel_id)
            .map(Arc::clone)
    }

    /// A device no longer uses a GPADL: a teardown that has waited for that is answered.
    pub fn gpadl_returned(&mut self, gpadl_id: GpadlId) {
        if self.gpadls.is_lent(gpadl_id) {
            return;
        }
        let waiting = self.channels.values_mut().find_map(|channel| {
            let is_ring = channel.ring == Some(gpadl_id);
            let place = channel.torndown_later.iter().position(|id| *id == gpadl_id);
            place
                .filter(|_| !is_ring)
                .map(|place| channel.torndown_later.swap_remove(place))
        });
        if let Some(gpadl_id) = waiting {
            self.tear_down(gpadl_id);
        }
    }

    pub(super) fn tear_down(&mut self, gpadl_id: GpadlId) {
        if self.gpadls.remove(gpadl_id) {
            self.send(GpadlTorndown { gpadl_id });
        }
    }
}
