//! The guest's operations on its disks.

use std::rc::Rc;

use vmbus_core::platform::PAGE_SIZE;
use vsc_storage::disk::DiskError;
use vsc_storage::disk::plan::Fua;
use vsc_storage::front::{Disk, DmaBuffer};

use super::log::Entry;
use super::plan::OpKind;
use super::world::{Found, World};
use crate::future::{give_up, yield_now};

/// Blocks of one operation.
#[derive(Clone, Copy, Debug)]
struct Target {
    op: u32,
    lun: u8,
    lba: u16,
    blocks: u16,
}

/// Does its share of the operations.
pub async fn worker(world: Rc<World>) {
    while let Some(op) = world.take_operation() {
        let kind = draw_kind(&world);
        let plan = &world.plan;
        let lun = u8::try_from(world.below(plan.luns.into())).expect("few LUNs");
        let blocks = 1 + u16::try_from(world.below(plan.longest.into())).expect("short");
        // Many operations on few blocks, so that they overlap.
        let places = if world.below(2) == 0 {
            4
        } else {
            plan.blocks - blocks
        };
        let lba = u16::try_from(world.below(u64::from(places) + 1)).expect("small disks");
        let target = Target {
            op,
            lun,
            lba,
            blocks: blocks.min(plan.blocks - lba),
        };
        let found = world.disk(lun, 0).await;
        let result = run(&world, &found.disk, kind, target).await;
        settle(&world, &found, kind, result).await;
    }
    world.workers.set(world.workers.get() - 1);
    world.notify();
}

fn draw_kind(world: &World) -> OpKind {
    match world.below(100) {
        0..44 => OpKind::Write,
        44..74 => OpKind::Read,
        74..84 => OpKind::Flush,
        84..90 if world.plan.durable_writes => OpKind::WriteDurably,
        84..90 => OpKind::Write,
        90..94 => OpKind::Unmap,
        94..98 => OpKind::ReadGivenUp,
        _ => OpKind::WriteGivenUp,
    }
}

/// Counts an operation's outcome and, if the disk is gone, waits as long as the guest does not know that.
async fn settle(world: &World, found: &Found, kind: OpKind, result: Result<(), DiskError>) {
    let Err(error) = result else {
        world.totals.borrow_mut().succeeded += 1;
        return;
    };
    world.totals.borrow_mut().failed += 1;
    let plan = &world.plan;
    match error {
        DiskError::Closed if plan.rescinds > 0 => {
            // The controller's end is always noticed, and it always comes back.
            let lun = found.disk.info().address.lun;
            world.disk(lun, found.generation).await;
        }
        // A disk that was pulled out and put back at once is the same disk.
        DiskError::Gone if plan.unplugs > 0 || plan.rescinds > 0 => yield_now().await,
        // Pulled out and put back while the guest asked for its properties: the next scan finds them.
        DiskError::Unsupported if plan.unplugs > 0 && kind == OpKind::Unmap => {}
        DiskError::Device(_) if plan.media_errors > 0 => {}
        // A flush that was aborted may not be repeated.
        DiskError::Command(_) if plan.aborts > 0 && kind == OpKind::Flush => {}
        error => panic!("{kind:?}: {error}"),
    }
}

async fn run(world: &World, disk: &Disk, kind: OpKind, target: Target) -> Result<(), DiskError> {
    world.note(Entry::Begin {
        op: target.op,
        kind,
        lun: target.lun,
        lba: target.lba,
        blocks: target.blocks,
    });
    world.under_way.set(world.under_way.get() + 1);
    let result = match kind {
        OpKind::Read => read(world, disk, target).await,
        OpKind::ReadGivenUp => give_up(read(world, disk, target)).await.unwrap_or(Ok(())),
        OpKind::Write => write(world, disk, target, Fua::No).await,
        OpKind::WriteGivenUp => give_up(write(world, disk, target, Fua::No))
            .await
            .unwrap_or(Ok(())),
        OpKind::WriteDurably => write(world, disk, target, Fua::Yes).await,
        OpKind::Flush => flush(world, disk, target).await,
        OpKind::Unmap => unmap(world, disk, target).await,
    };
    world.under_way.set(world.under_way.get() - 1);
    world.note(Entry::End {
        op: target.op,
        succeeded: result.is_ok(),
    });
    result
}

/// A buffer for the target's blocks, somewhere in its pages.
fn buffer(world: &World, disk: &Disk, target: Target) -> DmaBuffer {
    let bytes = usize::from(target.blocks) * world.plan.block_size as usize;
    let skipped = usize::try_from(world.below(8)).expect("small") * (PAGE_SIZE / 8);
    let mut buffer = disk.buffer(bytes + skipped).expect("memory");
    buffer.set_window(skipped, bytes).expect("within");
    buffer
}

async fn read(world: &World, disk: &Disk, target: Target) -> Result<(), DiskError> {
    let buffer = buffer(world, disk, target);
    let began = world.moment();
    let (result, buffer) = disk.read(target.lba.into(), buffer).await;
    result?;
    check(world, target, &buffer.to_vec(), began);
    Ok(())
}

/// Compares what was read with what may have been there.
fn check(world: &World, target: Target, bytes: &[u8], began: u64) {
    let now = world.moment();
    let model = &mut world.models.borrow_mut()[usize::from(target.lun)];
    if let Err(what) = model.check_read(target.lba, bytes, began, now) {
        panic!("operation {}: {what}", target.op);
    }
}

async fn write(world: &World, disk: &Disk, target: Target, fua: Fua) -> Result<(), DiskError> {
    let mut buffer = buffer(world, disk, target);
    let began = world.moment();
    let block_size = world.plan.block_size as usize;
    {
        let model = &mut world.models.borrow_mut()[usize::from(target.lun)];
        for index in 0..target.blocks {
            let content = model.content(target.lba + index, target.op, false);
            buffer
                .copy_from(usize::from(index) * block_size, &content)
                .expect("within");
        }
        model.begin(target.op, false, target.lba, target.blocks, began);
    }
    let (result, _) = disk.write(target.lba.into(), buffer, fua).await;
    end_write(world, target, result.is_ok(), fua == Fua::Yes);
    result.map(drop)
}

async fn unmap(world: &World, disk: &Disk, target: Target) -> Result<(), DiskError> {
    let began = world.moment();
    world.models.borrow_mut()[usize::from(target.lun)].begin(
        target.op,
        true,
        target.lba,
        target.blocks,
        began,
    );
    let result = disk.unmap(target.lba.into(), target.blocks.into()).await;
    end_write(world, target, result.is_ok(), false);
    result
}

fn end_write(world: &World, target: Target, succeeded: bool, durable: bool) {
    let now = world.moment();
    world.models.borrow_mut()[usize::from(target.lun)].end(
        target.op,
        target.lba,
        target.blocks,
        now,
        succeeded,
        durable,
    );
}

async fn flush(world: &World, disk: &Disk, target: Target) -> Result<(), DiskError> {
    let began = world.moment();
    disk.flush().await?;
    world.models.borrow_mut()[usize::from(target.lun)].flushed(began);
    Ok(())
}

/// Reads every block of every disk, and then flushes it.
pub async fn verify_all(world: &World) {
    for lun in 0..world.plan.luns {
        let mut found = world
            .until(|world| {
                let found = world.found(lun)?;
                // The last scan knows everything, whatever the host did during those before.
                found.disk.info().discard.is_some().then_some(found)
            })
            .await;
        let mut lba = 0;
        loop {
            let target = Target {
                op: world.number_operation(),
                lun,
                lba,
                blocks: world.plan.longest.min(world.plan.blocks - lba),
            };
            let is_read = lba == world.plan.blocks;
            let kind = if is_read { OpKind::Flush } else { OpKind::Read };
            match run(world, &found.disk, kind, target).await {
                Ok(()) if is_read => break,
                Ok(()) => lba += target.blocks,
                // What the host did at last may still be on its way.
                Err(DiskError::Closed) => found = world.disk(lun, found.generation).await,
                Err(DiskError::Gone) => {
                    yield_now().await;
                    found = world.disk(lun, 0).await;
                }
                Err(error) => panic!("{kind:?} of LUN {lun}, block {lba}: {error}"),
            }
        }
    }
}
