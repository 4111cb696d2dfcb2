//! As many disks as there can be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::context::{Context, sha256};
use crate::guest::Guest;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// All controllers, one of them full.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "disk-many",
    about: "four controllers, one of them with all its 64 disks: each is found at its place, with its own bytes and name",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(60),
    run,
};

const CONTROLLERS: u32 = 4;
/// The LUNs of the first controller's disks, and those of the others'.
const FULL: std::ops::Range<u32> = 0..64;
const FEW: [u32; 3] = [0, 7, 63];

/// The disks of one controller: what they hold, by LUN.
type Disks = BTreeMap<u32, String>;

/// A line for each disk: controller, LUN, hash, name.
const LOOK: &str = "cd /sys/bus/scsi/devices; for d in *:0:0:*; do \
    echo $(echo $d | cut -d: -f1,4 | tr : ' ') $(sha256sum < /dev/$(ls $d/block) | cut -d' ' -f1) $(cat $d/wwid); done";

fn run(context: &mut Context) -> Result<(), Trouble> {
    let mut machine = context
        .machine()
        .arguments(["--controllers", &CONTROLLERS.to_string()]);
    let mut made = Vec::new();
    let mut count = 0;
    for controller in 0..CONTROLLERS {
        let mut disks = Disks::new();
        let luns: Vec<_> = match controller {
            0 => FULL.collect(),
            _ => FEW.to_vec(),
        };
        for lun in luns {
            let image = context.random_image(&format!("disk-{controller}-{lun}"), 1, 2 * count)?;
            machine = machine.disk(
                &image,
                &[
                    &format!("controller={controller}"),
                    &format!("lun={lun}"),
                    "ro",
                ],
            );
            disks.insert(lun, sha256(&image, 1 << 20)?);
            count += 1;
        }
        made.push(disks);
    }
    let mut guest = context.start(&machine)?;
    guest.wait_until(&format!(
        "[ $(ls -d /sys/bus/scsi/devices/*:0:0:*/block/* | wc -l) = {count} ]"
    ))?;
    let (found, names) = look(&mut guest)?;
    // Linux numbers controllers in the order in which it finds them.
    for disks in &made {
        ensure(found.contains(disks), || {
            format!("no controller has {disks:?}, they have {found:?}")
        })?;
    }
    ensure(found.len() == made.len(), || {
        format!("there are {} controllers", found.len())
    })?;
    ensure(names.len() as u64 == count, || {
        format!("{count} disks have {} names", names.len())
    })?;
    context.note(format!("{count} disks"));
    Ok(())
}

/// The disks of each controller, and the names of all.
fn look(guest: &mut Guest) -> Result<(Vec<Disks>, BTreeSet<String>), Trouble> {
    let lines = guest.sh(LOOK)?;
    let mut found: BTreeMap<&str, Disks> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for line in lines.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let strange = || Trouble::failed(format!("a disk is described as {line:?}"));
        let [controller, lun, sum, name] = words[..] else {
            return Err(strange());
        };
        let lun = lun.parse().map_err(|_| strange())?;
        found
            .entry(controller)
            .or_default()
            .insert(lun, sum.to_owned());
        names.insert(name.to_owned());
    }
    Ok((found.into_values().collect(), names))
}
