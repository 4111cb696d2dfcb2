//! Who has which section of the receive buffer.

/// Sections kept for control messages, where there are enough.
const CONTROL: u32 = 16;
/// End of a chain.
const END: u32 = u32::MAX;

/// Who has a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// Nobody.
    Free,
    /// The guest, as part of a packet on a channel; the first section's number is the packet's transaction id.
    Guest { channel: u16, is_first: bool },
}

/// The sections of one receive buffer.
#[derive(Debug)]
pub(super) struct SectionPool {
    owners: Vec<Owner>,
    /// Next section of the same packet.
    chain: Vec<u32>,
    free: Vec<u32>,
    free_control: Vec<u32>,
    /// Sections that each channel's guest has, by channel.
    held: Vec<u32>,
    /// Channels among which data sections are divided.
    channels: u32,
    control: u32,
    /// Channels that got no section although their share is not used up: others have them.
    starved: Vec<u16>,
}

/// A guest completes a packet that it does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotOutstanding;

impl SectionPool {
    /// A pool of so many sections, all free; `None` if there are less than two.
    pub(super) fn new(count: u32) -> Option<Self> {
        if count < 2 {
            return None;
        }
        let control = CONTROL.min(count / 4).max(1);
        Some(Self {
            owners: vec![Owner::Free; count as usize],
            chain: vec![END; count as usize],
            free: (control..count).rev().collect(),
            free_control: (0..control).rev().collect(),
            held: vec![0; super::MAX_CHANNELS.into()],
            channels: 1,
            control,
            starved: Vec::new(),
        })
    }

    /// Data sections.
    pub(super) fn data_sections(&self) -> u32 {
        self.owners.len() as u32 - self.control
    }

    /// Divides the data sections among so many channels; at least one.
    pub(super) fn set_channels(&mut self, channels: u16) {
        self.channels = u32::from(channels).max(1);
    }

    /// Sections that a channel may still take, so that no channel takes all. There may be less.
    fn share(&self, channel: u16) -> usize {
        let share = (self.data_sections() / self.channels).max(1);
        let held = self.held.get(usize::from(channel)).copied().unwrap_or(0);
        share.saturating_sub(held) as usize
    }

    /// Takes up to `wanted` sections for one packet of data; appends them to `into`. A channel that gets none for want of
    /// them, not because its share is used up, is noted: its own guest's completions do not tell it of new ones.
    pub(super) fn take(&mut self, channel: u16, wanted: usize, into: &mut Vec<u32>) {
        let allowed = wanted.min(self.share(channel));
        let count = allowed.min(self.free.len());
        if allowed != 0 && count == 0 && !self.starved.contains(&channel) {
            self.starved.push(channel);
        }
        let at = self.free.len() - count;
        into.extend(self.free.drain(at..).rev());
    }

    /// Takes a section for a control message.
    pub(super) fn take_control(&mut self) -> Option<u32> {
        self.free_control.pop()
    }

    /// Whether there is a section for a control message.
    pub(super) fn has_control(&self) -> bool {
        !self.free_control.is_empty()
    }

    fn put_back(&mut self, section: u32) {
        if section < self.control {
            self.free_control.push(section);
        } else {
            self.free.push(section);
        }
    }

    /// Gives sections back that were taken and not lent.
    pub(super) fn return_unused(&mut self, sections: &[u32]) {
        for section in sections.iter().rev() {
            self.put_back(*section);
        }
    }

    /// Lends taken sections to the guest as one packet of a channel. The transaction id is the first one's number.
    pub(super) fn lend(&mut self, channel: u16, sections: &[u32]) {
        for (place, section) in sections.iter().enumerate() {
            let at = *section as usize;
            self.owners[at] = Owner::Guest {
                channel,
                is_first: place == 0,
            };
            self.chain[at] = sections.get(place + 1).copied().unwrap_or(END);
        }
        if let Some(held) = self.held.get_mut(usize::from(channel)) {
            *held += sections.len() as u32;
        }
    }

    /// The guest completes a packet on a channel.
    pub(super) fn complete(&mut self, channel: u16, id: u64) -> Result<(), NotOutstanding> {
        let first = usize::try_from(id).map_err(|_| NotOutstanding)?;
        let expected = Owner::Guest {
            channel,
            is_first: true,
        };
        if self.owners.get(first) != Some(&expected) {
            return Err(NotOutstanding);
        }
        let mut section = first as u32;
        while section != END {
            let at = section as usize;
            self.owners[at] = Owner::Free;
            self.put_back(section);
            if let Some(held) = self.held.get_mut(usize::from(channel)) {
                *held -= 1;
            }
            section = std::mem::replace(&mut self.chain[at], END);
        }
        Ok(())
    }

    /// A channel is closed: its guest has nothing any more.
    pub(super) fn release_channel(&mut self, channel: u16) {
        for section in 0..self.owners.len() as u32 {
            let at = section as usize;
            if matches!(self.owners[at], Owner::Guest { channel: owner, .. } if owner == channel) {
                self.owners[at] = Owner::Free;
                self.chain[at] = END;
                self.put_back(section);
            }
        }
        if let Some(held) = self.held.get_mut(usize::from(channel)) {
            *held = 0;
        }
    }

    /// The channels to be woken because there are sections for them again; each once.
    pub(super) fn take_starved(&mut self) -> Vec<u16> {
        if self.free.is_empty() {
            return Vec::new();
        }
        std::mem::take(&mut self.starved)
    }

    /// Sections that the guest has.
    pub(super) fn outstanding(&self) -> u32 {
        self.held.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fault_59_a_buffer_without_sections_is_none() {
        assert!(SectionPool::new(0).is_none());
        assert!(SectionPool::new(1).is_none());
        let pool = SectionPool::new(2).unwrap();
        assert_eq!(pool.data_sections(), 1);
        assert_eq!(SectionPool::new(9709).unwrap().data_sections(), 9709 - 16);
    }

    #[test]
    fn fault_65_sections_come_back_once_and_on_their_channel() {
        let mut pool = SectionPool::new(100).unwrap();
        let mut taken = vec![];
        pool.take(0, 5, &mut taken);
        pool.lend(0, &taken);
        let id = u64::from(taken[0]);
        for (channel, id) in [
            (1, id),
            (0, u64::from(taken[1])),
            (0, 99),
            (0, 100),
            (0, u64::MAX),
        ] {
            assert_eq!(
                pool.complete(channel, id),
                Err(NotOutstanding),
                "{channel} {id}"
            );
        }
        assert_eq!(pool.outstanding(), 5);
        assert_eq!(pool.complete(0, id), Ok(()));
        assert_eq!(pool.complete(0, id), Err(NotOutstanding));
        assert_eq!(pool.outstanding(), 0);
    }

    #[test]
    fn channels_without_sections_are_noted() {
        let mut pool = SectionPool::new(116).unwrap();
        let mut taken = vec![];
        pool.take(0, 1000, &mut taken);
        pool.lend(0, &taken);
        // Its own share is used up: its guest's completions tell it.
        pool.take(0, 1, &mut vec![]);
        pool.set_channels(4);
        for channel in [3, 2, 3] {
            pool.take(channel, 5, &mut vec![]);
        }
        assert!(pool.take_starved().is_empty(), "there is none yet");
        pool.complete(0, taken[0].into()).unwrap();
        assert_eq!(pool.take_starved(), [3, 2]);
        assert!(pool.take_starved().is_empty());
    }

    #[test]
    fn no_channel_takes_all() {
        let mut pool = SectionPool::new(116).unwrap();
        pool.set_channels(4);
        let mut taken = vec![];
        pool.take(2, 1000, &mut taken);
        assert_eq!(taken.len(), 25);
        pool.lend(2, &taken);
        let mut more = vec![];
        pool.take(2, 1, &mut more);
        assert!(more.is_empty());
        pool.take(3, 1, &mut more);
        assert_eq!(more.len(), 1);
        for _ in 0..16 {
            assert!(pool.take_control().is_some());
        }
        assert!(pool.take_control().is_none());
        pool.release_channel(2);
        assert_eq!(pool.outstanding(), 0);
    }

    proptest! {
        /// Sections are neither lost nor doubled, whatever the guest completes.
        #[test]
        fn sections_are_conserved(steps in proptest::collection::vec((0u8..4, 0u16..3, 0u64..40), 0..200)) {
            let mut pool = SectionPool::new(40).unwrap();
            let mut lent = std::collections::BTreeMap::<u64, (u16, usize)>::new();
            for (step, channel, number) in steps {
                match step {
                    0 => {
                        let mut taken = vec![];
                        pool.take(channel, number as usize % 7, &mut taken);
                        pool.lend(channel, &taken);
                        if let Some(first) = taken.first() {
                            prop_assert!(lent.insert((*first).into(), (channel, taken.len())).is_none());
                        }
                    }
                    1 => {
                        let expected = lent.get(&number).is_some_and(|(owner, _)| *owner == channel);
                        prop_assert_eq!(pool.complete(channel, number).is_ok(), expected);
                        if expected {
                            lent.remove(&number);
                        }
                    }
                    2 => {
                        pool.release_channel(channel);
                        lent.retain(|_, (owner, _)| *owner != channel);
                    }
                    _ => {
                        let mut taken = vec![];
                        pool.take(channel, 3, &mut taken);
                        pool.return_unused(&taken);
                    }
                }
                let total: usize = lent.values().map(|(_, count)| *count).sum();
                prop_assert_eq!(pool.outstanding() as usize, total);
                prop_assert_eq!(pool.free.len() + pool.free_control.len() + total, 40);
            }
        }
    }
}
