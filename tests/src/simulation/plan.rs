//! What a seed decides before anything happens.

use vmbus_core::version::ProtocolVersion;
use vsc_storage::wire::Version as StorageVersion;

use crate::random::Random;

/// An operation of the guest on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpKind {
    /// Read and compare.
    Read,
    /// Read, but give up before the end.
    ReadGivenUp,
    /// Write.
    Write,
    /// Write, but give up before the end.
    WriteGivenUp,
    /// Write with forced unit access.
    WriteDurably,
    /// Flush.
    Flush,
    /// Unmap, after which blocks read as zeros.
    Unmap,
}

/// Where the host executes storage commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Execution {
    /// While it polls the channel.
    Inline,
    /// After a delay of up to so much, in units of 100 ns.
    Delayed(u64),
    /// In whatever order the simulation decides.
    Picked,
}

/// How often each kind of thing happens, relative to the others.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Weights {
    /// Guest tasks are polled.
    pub guest: u64,
    /// Interrupts are dispatched.
    pub dispatch: u64,
    /// The host's control plane works.
    pub control: u64,
    /// The host's channels work.
    pub channel: u64,
    /// The host's disks work.
    pub disk: u64,
    /// Time passes.
    pub time: u64,
    /// The host is unpleasant.
    pub chaos: u64,
}

impl Weights {
    /// Weights of very different sizes: now and then somebody hardly ever has a turn, or only
    /// when nobody else wants one, so that rings fill up,
    /// interrupts come late, and completions pile up.
    pub fn draw(random: &mut Random) -> Self {
        let mut weight = || random.pick(&[0, 1, 8, 64, 64, 512]);
        Self {
            guest: weight(),
            dispatch: weight(),
            control: weight(),
            channel: weight(),
            disk: weight(),
            time: weight() / 8,
            chaos: 1,
        }
    }
}

/// What a seed decides before anything happens.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Virtual processors: 1 or 2.
    pub vp_count: u32,
    /// The host's VMBus version.
    pub vmbus: ProtocolVersion,
    /// The host's storage protocol version.
    pub storage: StorageVersion,
    /// Most sub-channels.
    pub sub_channels: u16,
    /// Pages of each storage ring, the control page included.
    pub ring_pages: u32,
    /// Requests in flight on one channel.
    pub queue_depth: usize,
    /// Tasks that read and write.
    pub workers: u16,
    /// Operations that they share.
    pub operations: u32,
    /// Disks.
    pub luns: u8,
    /// Bytes in a block.
    pub block_size: u32,
    /// Blocks of a disk.
    pub blocks: u16,
    /// Most blocks of one operation.
    pub longest: u16,
    /// Most bytes of one request.
    pub max_transfer: u32,
    /// Where storage commands are executed.
    pub execution: Execution,
    /// Times that the controller is taken away.
    pub rescinds: u32,
    /// Times that a disk is pulled out.
    pub unplugs: u32,
    /// Unit attentions.
    pub attentions: u32,
    /// Commands aborted by the host; fewer than the guest's tries of one command.
    pub aborts: u32,
    /// The host may be unpleasant at every so-manieth step, on average.
    pub chaos_rarity: u64,
    /// Whether controller and disks may go away before anybody uses them.
    pub early_chaos: bool,
    /// Whether the guest writes with forced unit access, which hides flushes that do too little.
    pub durable_writes: bool,
    /// Whether what was not flushed may be lost while the controller is away.
    pub power_cuts: bool,
    /// Media errors and torn writes, per thousand commands.
    pub media_errors: u32,
    /// Whether the guest serves heartbeats.
    pub heartbeat: bool,
}

impl Plan {
    /// The plan of a seed for so many virtual processors.
    #[must_use]
    pub fn draw(random: &mut Random, vp_count: u32) -> Self {
        let block_size = random.pick(&[512, 512, 4096]);
        let busy = random.per_thousand(500);
        let storage = random.pick(&StorageVersion::ALL_NEWEST_FIRST);
        let unplugs = random.pick(&[0, 0, 1, 3]);
        Self {
            vp_count,
            vmbus: random.pick(&ProtocolVersion::ALL_NEWEST_FIRST),
            storage,
            // Each further channel has a virtual processor of its own.
            sub_channels: u16::try_from(random.below(vp_count.into())).expect("few"),
            ring_pages: random.pick(&[2, 2, 2, 3, 8]),
            queue_depth: if busy {
                64
            } else {
                random.pick(&[1, 2, 5, 16])
            },
            workers: if busy { 60 } else { random.pick(&[2, 5, 12]) },
            operations: u32::try_from(random.between(60, 180)).expect("few"),
            luns: random.pick(&[1, 1, 2, 3]),
            block_size,
            blocks: random.pick(&[24, 64]),
            longest: if block_size == 512 { 24 } else { 6 },
            max_transfer: random.pick(&[4096, 8192, 65536]),
            execution: match random.below(3) {
                0 => Execution::Inline,
                1 => Execution::Delayed(random.pick(&[10, 1000, 50_000])),
                _ => Execution::Picked,
            },
            rescinds: random.pick(&[0, 1, 1, 2, 3]),
            // Before 4.2 nobody tells the guest that a disk has come.
            unplugs: if storage.has_enumerate_bus() {
                unplugs
            } else {
                0
            },
            attentions: random.pick(&[0, 0, 2]),
            aborts: random.pick(&[0, 0, 2]),
            chaos_rarity: random.pick(&[1, 8, 32]),
            early_chaos: random.per_thousand(200),
            durable_writes: random.per_thousand(500),
            power_cuts: random.per_thousand(600),
            media_errors: random.pick(&[0, 0, 0, 40]),
            heartbeat: random.per_thousand(300),
        }
    }

    /// Bytes of a disk.
    #[must_use]
    pub fn disk_bytes(&self) -> usize {
        usize::from(self.blocks) * self.block_size as usize
    }
}
