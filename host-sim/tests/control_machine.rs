//! The control socket's verbs on a host whose guest has not begun: what works without it, and what says why not.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use host_sim::control::{Control as _, ControlError, ErrorKind, Machine, Power, Request};
use host_sim::disk::{DiskImage as _, OpenOptions, open};
use host_sim::host::{Host, HostOptions, Offers, Place, StorageDevice};
use host_sim::hv::{Hv, HvConfig, InterruptSink, ManualClock};
use host_sim::memory::GuestMemory;
use serde_json::{Value, json};

struct NoInterrupts;

impl InterruptSink for NoInterrupts {
    fn inject(&self, _vp: u32, _vector: u8) {}
}

#[derive(Default)]
struct Counted {
    quits: AtomicU32,
    resets: AtomicU32,
    presses: AtomicU32,
}

impl Power for Counted {
    fn quit(&self) {
        self.quits.fetch_add(1, Ordering::Relaxed);
    }

    fn reset(&self) -> Result<(), ControlError> {
        self.resets.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn press_power_button(&self) -> Result<(), ControlError> {
        self.presses.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

struct Stage {
    machine: Machine,
    host: Arc<Host>,
    power: Arc<Counted>,
    folder: tempfile::TempDir,
}

fn stage(adjust: impl FnOnce(&mut HostOptions, &Path)) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let memory = GuestMemory::new(1 << 20).unwrap();
    let clock = Arc::new(ManualClock::default());
    let config = HvConfig::new(memory.clone(), clock, Arc::new(NoInterrupts), 1);
    let hv = Hv::new(config).unwrap();
    let mut options = HostOptions::default();
    adjust(&mut options, folder.path());
    let host = Arc::new(Host::new(&hv, &memory, options).unwrap());
    let power = Arc::new(Counted::default());
    let machine = Machine::new(Arc::clone(&host), hv, Arc::clone(&power) as Arc<dyn Power>);
    Stage {
        machine,
        host,
        power,
        folder,
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.host.bus.shut_down();
    }
}

impl Stage {
    fn ask(&self, request: Value) -> Result<Value, ControlError> {
        let request: Request = serde_json::from_value(request).unwrap();
        self.machine.execute(request)
    }

    fn kind(&self, request: Value) -> ErrorKind {
        let text = request.to_string();
        match self.ask(request) {
            Err(error) => error.kind,
            Ok(value) => panic!("{text}: {value}"),
        }
    }

    fn file(&self, name: &str, size: u64) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::File::create(&path).unwrap().set_len(size).unwrap();
        path
    }
}

#[test]
fn without_a_guest_its_services_are_not_ready() {
    let stage = stage(|_, _| {});
    let source = stage.file("source", 10);
    for request in [
        json!({"verb": "shutdown"}),
        json!({"verb": "kvp", "operation": "list", "pool": "auto"}),
        json!({"verb": "kvp", "operation": "get", "pool": "auto", "key": "k"}),
        json!({"verb": "kvp", "operation": "set", "pool": "external", "key": "k", "value": "v"}),
        json!({"verb": "vss", "operation": "check"}),
        json!({"verb": "copy-file", "source": source, "target": "/tmp/a"}),
        json!({"verb": "keys", "text": "a"}),
        json!({"verb": "keys", "keys": ["ctrl+alt+delete"]}),
        json!({"verb": "mouse", "x": 1}),
    ] {
        assert_eq!(
            stage.kind(request.clone()),
            ErrorKind::NotReady,
            "{request}"
        );
    }
    assert_eq!(
        stage.ask(json!({"verb": "heartbeat"})).unwrap()["contact"],
        "none"
    );
    // A guest that comes later gets the time anyway.
    assert!(
        stage
            .ask(json!({"verb": "time-sync", "offset": -5}))
            .is_ok()
    );
}

#[test]
fn devices_that_are_not_there_are_named() {
    let stage = stage(|options, _| options.offers = Offers::empty());
    for (request, name) in [
        (
            json!({"verb": "kvp", "operation": "list", "pool": "auto"}),
            "key-value",
        ),
        (json!({"verb": "vss", "operation": "check"}), "backup"),
        (
            json!({"verb": "copy-file", "source": "/x", "target": "/y"}),
            "file copy",
        ),
        (json!({"verb": "time-sync"}), "time"),
        (json!({"verb": "keys", "text": "a"}), "keyboard"),
        (json!({"verb": "mouse"}), "mouse"),
        (json!({"verb": "screenshot", "path": "/x.png"}), "screen"),
    ] {
        let error = stage.ask(request.clone()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NoDevice, "{request}");
        assert!(error.message.contains(name), "{error}");
    }
}

#[test]
fn disks_come_and_go() {
    let stage = stage(|options, _| options.controllers = 2);
    let image = stage.file("a.img", 1 << 20);
    let add = |lun: u8, disk: &str| json!({"verb": "disk", "operation": "add", "controller": 1, "lun": lun, "disk": disk});
    let path = image.to_str().unwrap();
    stage.ask(add(5, path)).unwrap();
    let list = stage
        .ask(json!({"verb": "disk", "operation": "list"}))
        .unwrap();
    assert_eq!(list["controllers"][1]["disks"][0]["lun"], 5);
    assert_eq!(list["controllers"][0]["disks"], json!([]));
    let other = stage.file("b.img", 4096);
    assert_eq!(stage.kind(add(5, other.to_str().unwrap())), ErrorKind::Busy);
    assert_eq!(stage.kind(add(6, "/missing.img")), ErrorKind::NotFound);
    assert_eq!(stage.kind(add(6, "/x,color=red")), ErrorKind::Invalid);
    assert_eq!(stage.kind(add(6, "/x,ide")), ErrorKind::Invalid);
    assert_eq!(
        stage.kind(add(64, path)),
        ErrorKind::Busy,
        "the image is locked"
    );
    assert_eq!(
        stage.kind(add(64, other.to_str().unwrap())),
        ErrorKind::Invalid
    );
    let far = json!({"verb": "disk", "operation": "remove", "controller": 2, "lun": 0});
    assert_eq!(stage.kind(far), ErrorKind::NotFound);
    let remove = json!({"verb": "disk", "operation": "remove", "controller": 1, "lun": 5});
    stage.ask(remove.clone()).unwrap();
    assert_eq!(stage.kind(remove), ErrorKind::NotFound);
    let image = open(&image, &OpenOptions::default());
    assert!(image.is_ok(), "the image is free again");
}

#[test]
fn drives_take_media() {
    let stage = stage(|_, _| {});
    let iso = stage.file("a.iso", 64 << 10);
    let iso = iso.to_str().unwrap();
    let add = json!({"verb": "disk", "operation": "add", "lun": 1, "disk": format!("{iso},dvd")});
    stage.ask(add).unwrap();
    let eject = json!({"verb": "dvd", "operation": "eject", "lun": 1});
    stage.ask(eject).unwrap();
    let insert = |lun: u8| json!({"verb": "dvd", "operation": "insert", "lun": lun, "image": iso});
    stage.ask(insert(1)).unwrap();
    assert_eq!(stage.kind(insert(2)), ErrorKind::NotFound);
    let missing = json!({"verb": "dvd", "operation": "insert", "lun": 1, "image": "/missing.iso"});
    assert_eq!(stage.kind(missing), ErrorKind::NotFound);
    // Sectors of a medium are longer than those of a disk.
    let fault = json!({"verb": "disk", "operation": "fault", "lun": 1, "sector": 3});
    stage.ask(fault).unwrap();
    let faults = stage.host.disks.controller(0).unwrap().faults(1).unwrap();
    let reads = |sector: u64| faults.read_bytes(sector * 2048, &mut [0; 2048]).is_ok();
    assert_eq!([2, 3, 4].map(reads), [true, false, true]);
    stage
        .ask(json!({"verb": "disk", "operation": "remove", "lun": 1}))
        .unwrap();
}

#[test]
fn faults_are_set_and_taken_back() {
    let stage = stage(|options, folder| {
        let path = folder.join("disk.img");
        fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
        let image = open(&path, &OpenOptions::default()).unwrap();
        options.storage = vec![(Place::lun(0), StorageDevice::disk(image))];
    });
    let faults = stage.host.disks.controllers()[0].faults(0).unwrap();
    let mut sector = [0; 512];
    let read = |at: u64, into: &mut [u8]| host_sim::disk::DiskImage::read_bytes(&*faults, at, into);
    let fault = json!({"verb": "disk", "operation": "fault", "lun": 0, "sector": 8, "count": 2});
    stage.ask(fault).unwrap();
    assert!(read(7 * 512, &mut sector).is_ok());
    assert!(read(8 * 512, &mut sector).is_err());
    assert!(read(9 * 512, &mut sector).is_err());
    assert!(read(10 * 512, &mut sector).is_ok());
    stage
        .ask(json!({"verb": "disk", "operation": "fault", "lun": 0}))
        .unwrap();
    assert!(read(8 * 512, &mut sector).is_ok());
    let beyond = json!({"verb": "disk", "operation": "fault", "lun": 0, "sector": u64::MAX});
    assert_eq!(stage.kind(beyond), ErrorKind::Invalid);
    let absent = json!({"verb": "disk", "operation": "fault", "lun": 9});
    assert_eq!(stage.kind(absent), ErrorKind::NotFound);
}

#[test]
fn adapters_come_and_go() {
    let stage = stage(|_, _| {});
    let add = json!({"verb": "nic", "operation": "add", "nic": "none"});
    for index in 0..8 {
        assert_eq!(stage.ask(add.clone()).unwrap()["index"], index);
    }
    assert_eq!(stage.kind(add.clone()), ErrorKind::Busy);
    stage
        .ask(json!({"verb": "nic", "operation": "remove", "index": 3}))
        .unwrap();
    assert_eq!(
        stage.kind(json!({"verb": "nic", "operation": "remove", "index": 3})),
        ErrorKind::NotFound
    );
    let nic = "none,mac=00:15:5d:00:00:09";
    let again = json!({"verb": "nic", "operation": "add", "nic": nic});
    assert_eq!(stage.ask(again).unwrap()["index"], 3);
    let list = stage
        .ask(json!({"verb": "nic", "operation": "list"}))
        .unwrap();
    assert_eq!(list.as_array().unwrap().len(), 8);
    assert_eq!(list[3]["address"], "00:15:5d:00:00:09");
    assert_eq!(list[3]["is_cable_in"], true);
    stage
        .ask(json!({"verb": "nic", "operation": "link", "index": 3, "state": "down"}))
        .unwrap();
    let list = stage
        .ask(json!({"verb": "nic", "operation": "list"}))
        .unwrap();
    assert_eq!(list[3]["is_cable_in"], false);
    stage
        .ask(json!({"verb": "nic", "operation": "remove", "index": 7}))
        .unwrap();
    assert_eq!(
        stage.kind(json!({"verb": "nic", "operation": "add", "nic": "ether"})),
        ErrorKind::Invalid
    );
    assert_eq!(
        stage.kind(json!({"verb": "nic", "operation": "add", "nic": "switch:/missing/switch"})),
        ErrorKind::Failed
    );
}

#[test]
fn addresses_for_adapters_are_checked_before_the_guest_is_asked() {
    let stage = stage(|_, _| {});
    let set = json!({"verb": "kvp", "operation": "set-ip", "nic": 0, "dhcp": true});
    assert_eq!(stage.kind(set), ErrorKind::NotFound);
    stage
        .ask(json!({"verb": "nic", "operation": "add", "nic": "none"}))
        .unwrap();
    let set = json!({"verb": "kvp", "operation": "set-ip", "nic": 0, "address": ["10.0.0.2"]});
    assert_eq!(stage.kind(set), ErrorKind::Invalid);
    let ip = json!({"verb": "kvp", "operation": "ip", "nic": 0});
    assert_eq!(stage.kind(ip), ErrorKind::NotReady);
}

#[test]
fn backups_write_no_file_that_is_there() {
    let stage = stage(|_, _| {});
    let precious = stage.file("precious", 7);
    let backup = |to: &Path| json!({"verb": "vss", "operation": "backup", "lun": 0, "to": to});
    assert_eq!(stage.kind(backup(&precious)), ErrorKind::Busy);
    assert_eq!(fs::metadata(&precious).unwrap().len(), 7);
    let new = stage.folder.path().join("new");
    assert_eq!(stage.kind(backup(&new)), ErrorKind::NotReady);
    let left: Vec<_> = fs::read_dir(stage.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(
        left,
        ["precious"],
        "nothing is left of a backup that failed"
    );
    for seconds in [0, 901] {
        let mut hasty = backup(&new);
        hasty["freeze-timeout"] = seconds.into();
        assert_eq!(stage.kind(hasty), ErrorKind::Invalid);
    }
}

#[test]
fn files_to_copy_are_looked_at_first() {
    let stage = stage(|_, _| {});
    let copy = |source: &str, target: &str| json!({"verb": "copy-file", "source": source, "target": target});
    assert_eq!(stage.kind(copy("/missing", "/tmp/a")), ErrorKind::NotFound);
    assert_eq!(stage.kind(copy("/dev/null", "/tmp/a")), ErrorKind::Failed);
    let source = stage.file("source", 10);
    assert_eq!(
        stage.kind(copy(source.to_str().unwrap(), "relative")),
        ErrorKind::Invalid
    );
}

#[test]
fn state_is_shown_and_power_is_ordered() {
    let stage = stage(|options, _| options.name = "test".to_owned());
    let status = stage.ask(json!({"verb": "status"})).unwrap();
    assert_eq!(status["name"], "test");
    assert_eq!(status["kvp"], "closed");
    assert_eq!(status["vmbus"], Value::Null);
    let all = stage.ask(json!({"verb": "inspect"})).unwrap();
    assert!(all["hypervisor"]["virtual_processors"].is_array());
    assert_eq!(all["screen"], Value::Null);
    stage.ask(json!({"verb": "reset"})).unwrap();
    stage.ask(json!({"verb": "power-button"})).unwrap();
    stage.ask(json!({"verb": "quit"})).unwrap();
    for count in [
        &stage.power.quits,
        &stage.power.resets,
        &stage.power.presses,
    ] {
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }
    assert_eq!(
        stage.kind(json!({"verb": "keys", "keys": ["hyper"]})),
        ErrorKind::Invalid
    );
}
