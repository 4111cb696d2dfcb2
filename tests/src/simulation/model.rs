//! What each block of a disk may hold, given what the guest has been told.
//!
//! Time is the order of events: each operation has a moment at which it began and one at which its outcome was
//! known. Between the two a write takes effect at an unknown moment, or not at all if it failed. A block may
//! therefore hold any write that no other write has certainly replaced: one that began after the first was over, and
//! has certainly taken effect, because it was acknowledged or because somebody has read it.

use crate::random::mix;

/// Number of a write, unique in a simulation; 0 is the content before the first one.
pub type WriteId = u32;

/// Moment in the order of events.
pub type Moment = u64;

const MAGIC: u32 = 0x5649_5249;

/// One write of one block.
#[derive(Clone, Copy, Debug)]
struct Write {
    id: WriteId,
    /// It makes the block zeros.
    zero: bool,
    began: Moment,
    /// It takes no effect after this moment.
    over: Option<Moment>,
    /// It has certainly taken effect before this moment.
    effective: Option<Moment>,
    /// It has certainly reached stable storage.
    durable: bool,
}

/// What one disk may hold.
#[derive(Clone, Debug)]
pub struct Model {
    lun: u8,
    block_size: usize,
    blocks: Vec<Vec<Write>>,
    /// Operations that began before this know nothing of what the disk holds now.
    since: Moment,
}

impl Model {
    /// A disk of zeros.
    #[must_use]
    pub fn new(lun: u8, block_size: u32, blocks: u16) -> Self {
        let zeros = Write {
            id: 0,
            zero: true,
            began: 0,
            over: Some(0),
            effective: Some(0),
            durable: true,
        };
        Self {
            lun,
            block_size: block_size as usize,
            blocks: vec![vec![zeros]; blocks.into()],
            since: 0,
        }
    }

    /// The content that a write gives a block.
    #[must_use]
    pub fn content(&self, lba: u16, id: WriteId, zero: bool) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.block_size);
        if !zero {
            let tag = u64::from(MAGIC) << 32 | u64::from(id);
            let place = u64::from(self.lun) << 32 | u64::from(lba);
            bytes.extend(tag.to_le_bytes());
            bytes.extend(place.to_le_bytes());
            let mut word = mix(tag ^ mix(place));
            while bytes.len() < self.block_size {
                word = word.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
                bytes.extend(word.to_le_bytes());
            }
        }
        bytes.resize(self.block_size, 0);
        bytes
    }

    fn range(&mut self, lba: u16, count: u16) -> &mut [Vec<Write>] {
        &mut self.blocks[usize::from(lba)..usize::from(lba) + usize::from(count)]
    }

    /// A write begins.
    pub fn begin(&mut self, id: WriteId, zero: bool, lba: u16, count: u16, now: Moment) {
        for block in self.range(lba, count) {
            block.push(Write {
                id,
                zero,
                began: now,
                over: None,
                effective: None,
                durable: false,
            });
        }
    }

    /// A write's outcome is known. After a failure each block may hold it or not; `durable` says that it was
    /// forced to stable storage.
    pub fn end(
        &mut self,
        id: WriteId,
        lba: u16,
        count: u16,
        now: Moment,
        succeeded: bool,
        durable: bool,
    ) {
        for block in self.range(lba, count) {
            // A write from before a power cut may have been forgotten meanwhile.
            if let Some(write) = block.iter_mut().find(|write| write.id == id && id != 0) {
                write.over.get_or_insert(now);
                if succeeded {
                    write.effective.get_or_insert(now);
                    write.durable |= durable;
                }
            }
        }
    }

    /// A flush that began at `began` has succeeded.
    pub fn flushed(&mut self, began: Moment) {
        if began < self.since {
            return;
        }
        for write in self.blocks.iter_mut().flatten() {
            write.durable |= write.effective.is_some_and(|effective| effective < began);
        }
    }

    /// Checks what a read that began at `began` has found, and learns from it.
    ///
    /// # Errors
    /// A sentence that says what is wrong with which block.
    pub fn check_read(
        &mut self,
        lba: u16,
        bytes: &[u8],
        began: Moment,
        now: Moment,
    ) -> Result<(), String> {
        if began < self.since {
            return Ok(());
        }
        for (lba, content) in (lba..).zip(bytes.chunks(self.block_size)) {
            let matching = self.matching(lba, content)?;
            let replaced = |old: &Write| {
                self.blocks[usize::from(lba)]
                    .iter()
                    .find(|new| {
                        old.over.is_some_and(|over| over < new.began)
                            && new.effective.is_some_and(|effective| effective < began)
                    })
                    .map(|new| new.id)
            };
            let possible: Vec<_> = matching
                .iter()
                .filter(|write| replaced(write).is_none())
                .map(|write| write.id)
                .collect();
            match possible.as_slice() {
                [] => {
                    let history = &self.blocks[usize::from(lba)];
                    return Err(format!(
                        "block {lba} of LUN {} holds write {} although that was replaced by write {}; \
                         history: {history:?}",
                        self.lun,
                        matching[0].id,
                        replaced(&matching[0]).unwrap_or_default(),
                    ));
                }
                [seen] => {
                    let seen = *seen;
                    let block = &mut self.blocks[usize::from(lba)];
                    for write in block.iter_mut().filter(|write| write.id == seen) {
                        write.effective.get_or_insert(now);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The writes that give a block this content; at least one.
    fn matching(&self, lba: u16, content: &[u8]) -> Result<Vec<Write>, String> {
        let history = &self.blocks[usize::from(lba)];
        let zeros = content.iter().all(|byte| *byte == 0);
        let id = u32::from_le_bytes(content[..4].try_into().expect("four bytes"));
        let matching: Vec<_> = history
            .iter()
            .filter(|write| write.zero == zeros && (zeros || write.id == id))
            .copied()
            .collect();
        let is_whole = zeros || self.content(lba, id, false) == content;
        if matching.is_empty() || !is_whole {
            return Err(format!(
                "block {lba} of LUN {} holds something that was never written there: {:02x?}…",
                self.lun,
                &content[..24.min(content.len())]
            ));
        }
        Ok(matching)
    }

    /// The power has failed and left the disk with this content: nothing that was certainly durable may be gone.
    /// From here on the disk holds exactly this.
    ///
    /// # Errors
    /// A sentence that says what was lost.
    pub fn cut(&mut self, image: &[u8], now: Moment) -> Result<(), String> {
        for lba in 0..u16::try_from(self.blocks.len()).expect("small disks") {
            let content = &image[usize::from(lba) * self.block_size..][..self.block_size];
            let matching = self.matching(lba, content)?;
            let history = &self.blocks[usize::from(lba)];
            let lost = |old: &Write| {
                history
                    .iter()
                    .find(|new| new.durable && old.over.is_some_and(|over| over < new.began))
            };
            if let Some(new) = matching
                .iter()
                .map(lost)
                .min_by_key(Option::is_some)
                .flatten()
            {
                return Err(format!(
                    "write {} to block {lba} of LUN {} was durable and is lost: the block holds write {}; \
                     history: {history:?}",
                    new.id, self.lun, matching[0].id
                ));
            }
            let mut kept = matching[0];
            kept.began = 0;
            kept.over = Some(0);
            kept.effective = Some(0);
            kept.durable = true;
            self.blocks[usize::from(lba)] = vec![kept];
        }
        self.since = now;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        Model::new(0, 512, 4)
    }

    #[test]
    fn an_acknowledged_write_replaces_what_was_over_before() {
        let mut model = model();
        model.begin(1, false, 1, 1, 10);
        model.end(1, 1, 1, 20, true, false);
        let (old, new) = (vec![0; 512], model.content(1, 1, false));
        assert!(
            model.check_read(1, &old, 15, 30).is_ok(),
            "the read may have come first"
        );
        assert!(model.check_read(1, &new, 21, 30).is_ok());
        assert!(model.check_read(1, &old, 21, 30).is_err());
        assert!(
            model.check_read(2, &new, 21, 30).is_err(),
            "another block's content"
        );
    }

    #[test]
    fn a_failed_write_may_be_there_or_not_but_not_both_in_turn() {
        let mut model = model();
        model.begin(1, false, 0, 1, 10);
        model.end(1, 0, 1, 20, false, false);
        let (old, new) = (vec![0; 512], model.content(0, 1, false));
        assert!(model.check_read(0, &old, 30, 31).is_ok());
        assert!(model.check_read(0, &new, 40, 41).is_ok());
        assert!(
            model.check_read(0, &old, 50, 51).is_err(),
            "it was seen before"
        );
    }

    #[test]
    fn torn_blocks_are_found() {
        let mut model = model();
        model.begin(1, false, 0, 1, 10);
        let mut torn = model.content(0, 1, false);
        torn[511] ^= 1;
        assert!(model.check_read(0, &torn, 11, 12).is_err());
    }

    #[test]
    fn a_power_cut_may_only_lose_what_was_not_flushed() {
        let mut model = model();
        model.begin(1, false, 0, 1, 10);
        model.end(1, 0, 1, 11, true, false);
        model.flushed(20);
        model.begin(2, false, 0, 1, 30);
        model.end(2, 0, 1, 31, true, false);
        let image = |first: Vec<u8>| [first, vec![0; 3 * 512]].concat();
        let contents = [0, 1, 2].map(|id| image(model.content(0, id, id == 0)));
        assert!(
            model.clone().cut(&contents[0], 40).is_err(),
            "write 1 was flushed"
        );
        assert!(model.clone().cut(&contents[2], 40).is_ok());
        assert!(model.cut(&contents[1], 40).is_ok());
        assert!(
            model.check_read(0, &contents[2][..512], 35, 41).is_ok(),
            "began before the cut"
        );
        assert!(model.check_read(0, &contents[2][..512], 41, 42).is_err());
        assert!(model.check_read(0, &contents[1][..512], 41, 42).is_ok());
    }
}
