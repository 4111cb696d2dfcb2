//! From the command line to images, versions and options; nothing is modified if any of it is wrong.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use host_sim::disk::{DiskImage, FormatChoice, OpenOptions, Overlay, open};
use host_sim::host::{HostOptions, Place};
use host_sim::vmbus::trace::{BusObserver, JsonTrace};
use vmbus_core::version::ProtocolVersion;

use super::Error;
use super::arguments::{DiskArgument, RunOptions};

/// The disks of one run, by place, and by LUN for the host's own reading.
pub(super) struct Disks {
    pub(super) attached: Vec<(Place, Arc<dyn DiskImage>)>,
    pub(super) read_only: BTreeMap<u8, Arc<dyn DiskImage>>,
}

/// Opens all images.
pub(super) fn open_disks(arguments: &[DiskArgument]) -> Result<Disks, Error> {
    let mut disks = Disks {
        attached: Vec::new(),
        read_only: BTreeMap::new(),
    };
    let (mut luns, mut ide) = (0u8, 0u8);
    for argument in arguments {
        let image = open_disk(argument)?;
        let place = if argument.ide {
            if ide == 4 {
                return Err(Error::usage("there are four IDE disks at most"));
            }
            ide += 1;
            Place::Ide {
                channel: (ide - 1) / 2,
                device: (ide - 1) % 2,
            }
        } else {
            if luns == 64 {
                return Err(Error::usage("a SCSI controller has 64 disks at most"));
            }
            luns += 1;
            if image.info().read_only {
                disks.read_only.insert(luns - 1, Arc::clone(&image));
            }
            Place::Scsi(luns - 1)
        };
        disks.attached.push((place, image));
    }
    Ok(disks)
}

fn open_disk(argument: &DiskArgument) -> Result<Arc<dyn DiskImage>, Error> {
    let options = OpenOptions {
        format: match argument.format.as_deref() {
            Some("raw") => FormatChoice::Raw,
            Some("vhd") => FormatChoice::Vhd,
            _ => FormatChoice::Auto,
        },
        read_only: argument.read_only || argument.scratch,
        sector_size: argument.sector_size,
        ..OpenOptions::default()
    };
    let image = open(&argument.path, &options).map_err(Error::failed)?;
    if !argument.scratch {
        return Ok(image);
    }
    let overlay = Overlay::new(image)
        .map_err(|error| Error::failed(format!("cannot make a scratch file: {error}")))?;
    Ok(Arc::new(overlay))
}

/// The version that `--vmbus-version` names.
pub(super) fn vmbus_version(text: Option<&str>) -> Result<ProtocolVersion, Error> {
    let Some(text) = text else {
        return Ok(ProtocolVersion::V6_0);
    };
    let known = ProtocolVersion::ALL_NEWEST_FIRST;
    known
        .into_iter()
        .find(|version| version.to_string() == text)
        .ok_or_else(|| {
            let names: Vec<_> = known.iter().map(ToString::to_string).collect();
            Error::usage(format!(
                "there is no VMBus version '{text}'; there are {}",
                names.join(", ")
            ))
        })
}

/// What the host offers to the guest of this run.
pub(super) fn host_options(options: &RunOptions, disks: &Disks) -> Result<HostOptions, Error> {
    let newest_vmbus = vmbus_version(options.vmbus_version.as_deref())?;
    if let Some(trace) = &options.trace {
        let used = options.disks.iter().map(|disk| &disk.path);
        let files = [&options.guest, &options.kernel, &options.initrd];
        let mut used = used.chain(files.into_iter().flatten());
        if used.any(|path| is_same_file(path, trace)) {
            return Err(Error::usage(format!(
                "the trace '{}' would overwrite the guest or a disk",
                trace.display()
            )));
        }
    }
    // Last, as it empties the file.
    let observer = options.trace.as_deref().map(create_trace).transpose()?;
    Ok(HostOptions {
        disks: disks.attached.clone(),
        newest_vmbus,
        max_sub_channels: u16::try_from(options.cpus.saturating_sub(1)).unwrap_or(u16::MAX),
        observer,
        ..HostOptions::default()
    })
}

/// Whether two paths lead to one file that exists.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

fn create_trace(path: &Path) -> Result<Arc<dyn BusObserver>, Error> {
    match JsonTrace::create(path) {
        Ok(trace) => Ok(Arc::new(trace)),
        Err(error) => Err(Error::failed(format!(
            "cannot write the trace '{}': {error}",
            path.display()
        ))),
    }
}
