//! `hv_fcopy_daemon` takes files from the host.

use std::time::Duration;

use super::daemons::{self, refused};
use crate::context::{Context, sha256};
use crate::guest::Guest;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// Files for the guest.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "file-copy",
    about: "hv_fcopy_daemon gets files as they are, replaces none unasked; without a daemon the host says so",
    kernels: CLOUD,
    cpus: &[1, 2],
    limit: Duration::from_secs(40),
    run,
};

fn run(context: &mut Context) -> Result<(), Trouble> {
    let (first, second) = (
        context.random_image("first", 1, 11)?,
        context.random_image("second", 2, 12)?,
    );
    let empty = context.empty_image("empty", 0)?;
    let sums = [sha256(&first, 1 << 20)?, sha256(&second, 2 << 20)?];
    let [first, second, empty] = [&first, &second, &empty].map(|path| path.to_string_lossy());
    let machine = context.machine();
    let mut guest = context.start(&machine)?;
    let copy = |source, target| ["copy-file", source, target];
    // Linux 6.1 answers for the daemon that is not there; 6.12 leaves the channel closed.
    refused(&guest, &copy(&first, "/tmp/file"), "the guest")?;
    if guest.run("command -v hv_fcopy_daemon")?.status != 0 {
        context.note(
            "this kernel leaves the channel to a daemon in user space, which the distribution's package lacks: \
             only the refusal is tested",
        );
        return Ok(());
    }
    daemons::start(&mut guest, "hv_fcopy_daemon", "file_copy")?;

    guest.ctl(&copy(&first, "/tmp/file"))?;
    equal(&mut guest, "/tmp/file", &sums[0])?;
    // Not unasked; and what is there stays as it is.
    refused(&guest, &copy(&second, "/tmp/file"), "exists")?;
    equal(&mut guest, "/tmp/file", &sums[0])?;
    guest.ctl(&["copy-file", &second, "/tmp/file", "--overwrite"])?;
    equal(&mut guest, "/tmp/file", &sums[1])?;

    let deep = "/tmp/a/b c/größe.bin";
    refused(&guest, &copy(&first, deep), "refused")?;
    guest.ctl(&["copy-file", &first, deep, "--create-path"])?;
    equal(&mut guest, deep, &sums[0])?;
    guest.ctl(&copy(&empty, "/tmp/empty"))?;
    guest.sh("[ -f /tmp/empty ] && [ ! -s /tmp/empty ]")?;

    refused(&guest, &copy("/nowhere", "/tmp/x"), "cannot read")?;
    refused(&guest, &copy(&first, "relative"), "no absolute path")?;
    refused(&guest, &copy(&first, "/tmp/a"), "")?;
    full(&mut guest, &second)?;
    // None of that has broken the service.
    guest.ctl(&copy(&first, "/tmp/again"))?;
    equal(&mut guest, "/tmp/again", &sums[0])
}

/// A file that does not fit. The daemon calls it a full disk only where the first byte of a piece does not fit.
fn full(guest: &mut Guest, source: &str) -> Result<(), Trouble> {
    guest.sh("mkdir /small && mount -t tmpfs -o size=1m small /small")?;
    refused(guest, &["copy-file", source, "/small/file"], "the guest")?;
    guest.sh("umount /small").map(|_| ())
}

fn equal(guest: &mut Guest, path: &str, expected: &str) -> Result<(), Trouble> {
    let sum = guest.sh(&format!("sha256sum '{path}' | cut -d' ' -f1"))?;
    ensure(sum == expected, || format!("{path} has other bytes"))
}
