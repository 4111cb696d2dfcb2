//! Deadlines.

use super::channels::Link;
use super::memory::GpadlState;
use super::{ConnectError, Connection, Event, Phase, RequestError};

impl Connection {
    /// The earliest deadline of what the connection waits for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let phase = match self.phase {
            Phase::Negotiating { deadline, .. } | Phase::Unloading { deadline, .. } => {
                Some(deadline)
            }
            _ => None,
        };
        let channels = self.channels.values().flat_map(|record| {
            let opening = match record.link {
                Link::Opening { deadline, .. } => Some(deadline),
                _ => None,
            };
            let modifying = record.modifying.and_then(|modifying| modifying.deadline);
            opening.into_iter().chain(modifying)
        });
        let gpadls = self
            .gpadls
            .values()
            .filter_map(|record| match record.state {
                GpadlState::Creating { deadline } | GpadlState::TearingDown { deadline } => {
                    deadline
                }
                _ => None,
            });
        phase.into_iter().chain(channels).chain(gpadls).min()
    }

    /// Ends every wait whose deadline is not after `now`.
    pub fn expire(&mut self, now: u64) {
        match self.phase {
            Phase::Negotiating { deadline, .. } if deadline <= now => {
                self.connect_failed(ConnectError::TimedOut);
            }
            Phase::Unloading { deadline, .. } if deadline <= now => {
                self.queue.clear();
                self.unload_ended(false);
            }
            _ => {}
        }
        self.expire_channels(now);
        self.expire_gpadls(now);
    }

    fn expire_channels(&mut self, now: u64) {
        let mut late_opens = alloc::vec::Vec::new();
        for (id, record) in &mut self.channels {
            let channel = record.key(*id);
            if let Link::Opening { deadline, .. } = record.link
                && deadline <= now
            {
                late_opens.push(channel);
            }
            if let Some(modifying) = &mut record.modifying
                && modifying.deadline.is_some_and(|deadline| deadline <= now)
            {
                // Until the host answers, the request must not be repeated.
                modifying.deadline = None;
                self.events.push_back(Event::Modified {
                    channel,
                    result: Err(RequestError::TimedOut),
                });
            }
        }
        for channel in late_opens {
            self.abandon_open(channel, RequestError::TimedOut);
        }
    }

    fn expire_gpadls(&mut self, now: u64) {
        let mut late_teardowns = alloc::vec::Vec::new();
        for (gpadl, record) in &mut self.gpadls {
            match record.state {
                GpadlState::Creating {
                    deadline: Some(deadline),
                } if deadline <= now => {
                    // Torn down when the host establishes it after all.
                    record.state = GpadlState::Creating { deadline: None };
                    self.events.push_back(Event::GpadlCreated {
                        gpadl: *gpadl,
                        result: Err(RequestError::TimedOut),
                    });
                }
                GpadlState::TearingDown {
                    deadline: Some(deadline),
                } if deadline <= now => late_teardowns.push(*gpadl),
                _ => {}
            }
        }
        for gpadl in late_teardowns {
            self.leak_gpadl(gpadl, RequestError::TimedOut);
        }
    }
}
