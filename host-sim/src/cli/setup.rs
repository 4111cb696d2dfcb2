//! From the command line to images, versions and options; nothing is modified if any of it is wrong.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use host_sim::disk::{DiskArgument, DiskImage};
use host_sim::host::{HostOptions, Place, StorageDevice};
use host_sim::vmbus::trace::{BusObserver, JsonTrace};
use host_sim::vsp::storage::executor::IoPool;
use vmbus_core::version::ProtocolVersion;

use super::Error;
use super::arguments::RunOptions;

/// The disks of one run, by place, and by LUN for the host's own reading.
pub(super) struct Disks {
    pub(super) attached: Vec<(Place, StorageDevice)>,
    pub(super) read_only: BTreeMap<u8, Arc<dyn DiskImage>>,
}

/// Opens all images.
pub(super) fn open_disks(arguments: &[DiskArgument]) -> Result<Disks, Error> {
    let mut disks = Disks {
        attached: Vec::new(),
        read_only: BTreeMap::new(),
    };
    let mut places = Places::new(arguments);
    for argument in arguments {
        let place = places.place(argument)?;
        let image = argument.open().map_err(Error::failed)?;
        let device = if argument.dvd {
            StorageDevice::Dvd {
                medium: Some(image),
            }
        } else {
            if let Place::Scsi { controller: 0, lun } = place
                && image.info().read_only
            {
                disks.read_only.insert(lun, Arc::clone(&image));
            }
            StorageDevice::Disk {
                image,
                on_full: argument.on_full,
            }
        };
        disks.attached.push((place, device));
    }
    Ok(disks)
}

/// Which places are taken.
struct Places {
    /// LUNs asked for by number, and those given so far, by controller.
    luns: [u64; 4],
    ide: u8,
}

impl Places {
    fn new(arguments: &[DiskArgument]) -> Self {
        let mut luns = [0; 4];
        for argument in arguments {
            if let Some(lun) = argument.lun {
                luns[usize::from(argument.controller)] |= 1 << lun;
            }
        }
        Self { luns, ide: 0 }
    }

    /// The place that an argument asks for, or the next that is free.
    fn place(&mut self, argument: &DiskArgument) -> Result<Place, Error> {
        if argument.ide {
            if self.ide == 4 {
                return Err(Error::usage("there are four IDE disks at most"));
            }
            self.ide += 1;
            return Ok(Place::Ide {
                channel: (self.ide - 1) / 2,
                device: (self.ide - 1) % 2,
            });
        }
        let controller = argument.controller;
        if let Some(lun) = argument.lun {
            return Ok(Place::Scsi { controller, lun });
        }
        let taken = &mut self.luns[usize::from(controller)];
        let lun = taken.trailing_ones();
        if lun == 64 {
            return Err(Error::usage("a SCSI controller has 64 disks at most"));
        }
        *taken |= 1 << lun;
        // Less than 64.
        let lun = lun as u8;
        Ok(Place::Scsi { controller, lun })
    }
}

/// The version that `--vmbus-version` names.
fn vmbus_version(text: &str) -> Result<ProtocolVersion, Error> {
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
    let generation = options.host_version;
    let newest_vmbus = match &options.vmbus_version {
        Some(text) => vmbus_version(text)?,
        None => generation.newest_vmbus(),
    };
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
    let like = HostOptions::like(generation);
    let executor = match options.io_threads {
        0 => None,
        count => {
            let pool = IoPool::new(count.into())
                .map_err(|error| Error::failed(format!("cannot start I/O threads: {error}")))?;
            Some(pool.factory())
        }
    };
    Ok(HostOptions {
        name: options.name.clone().unwrap_or_else(|| like.name.clone()),
        controllers: options.controllers,
        storage: disks.attached.clone(),
        newest_vmbus,
        nics: options.nics.clone(),
        executor,
        max_sub_channels: u16::try_from(options.cpus.saturating_sub(1)).unwrap_or(u16::MAX),
        observer,
        ..like
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
