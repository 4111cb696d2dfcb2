//! The demo's transcript: the same on every back end and with every number of processors.

mod cli_support;

use std::path::Path;

use cli_support::{guest_image, host_sim, skip, skip_part};
use host_sim::disk::vhd::{CreateOptions, Kind, create_file};
use host_sim::disk::{OpenOptions, open};
use host_sim::partition::kvm;
use serde_json::Value;
use tempfile::TempDir;

/// Small enough for a processor that is only emulated.
const DISK: u64 = 1 << 20;

/// Fills a part of an image with bytes that differ from block to block.
fn fill(path: &Path, length: u64) {
    let image = open(path, &OpenOptions::default()).unwrap();
    let bytes: Vec<u8> = (0..length)
        .map(|at| (at.wrapping_mul(0x9E37_79B9) >> 13) as u8)
        .collect();
    image.write_bytes(0, &bytes).unwrap();
    image.flush().unwrap();
}

fn demo(guest: &Path, backend: &str, cpus: &str, disk: &str, more: &[&str]) -> Value {
    let mut arguments = vec![
        "run",
        "--demo",
        "--json",
        "--guest",
        guest.to_str().unwrap(),
    ];
    arguments.extend([
        "--backend",
        backend,
        "--cpus",
        cpus,
        "--disk",
        disk,
        "--timeout",
        "300",
    ]);
    arguments.extend(more);
    let output = host_sim(&arguments);
    let (text, log) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{backend}, {cpus} processors: {text}\n{log}"
    );
    serde_json::from_str(&text).unwrap()
}

/// What must not depend on where the guest runs.
fn transcript(report: &Value) -> Vec<(String, String)> {
    let guest = report["guest"].as_object().unwrap();
    let kept = guest.iter().filter(|(key, _)| {
        ["vmbus.", "offer.", "controller.", "disk."]
            .iter()
            .any(|prefix| key.starts_with(prefix))
    });
    kept.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}

#[test]
fn transcripts_are_equal_on_both_back_ends() {
    let Some(guest) = guest_image() else {
        return skip("transcripts", "no guest image (VIRIDIAN_GUEST)");
    };
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk.img");
    std::fs::File::create(&path).unwrap().set_len(DISK).unwrap();
    fill(&path, DISK);
    let disk = format!("{},ro", path.display());
    let expected = transcript(&demo(&guest, "inproc", "1", &disk, &[]));
    assert!(
        expected.iter().any(|(key, _)| key == "disk.0.sha256"),
        "{expected:?}"
    );
    for more in [&[][..], &["--io-threads", "3"]] {
        let report = demo(&guest, "inproc", "2", &disk, more);
        assert_eq!(transcript(&report), expected, "{more:?}");
    }
    match kvm::probe() {
        Err(error) => skip_part("KVM", &error.to_string()),
        Ok(_) => {
            let calls = ["--recommend", "tlb-flush,cluster-ipi"];
            for (cpus, more) in [("1", &[][..]), ("2", &[]), ("2", &calls)] {
                let report = demo(&guest, "kvm", cpus, &disk, more);
                assert_eq!(transcript(&report), expected, "{cpus} processors {more:?}");
            }
        }
    }
}

#[test]
fn every_kind_of_image_is_shown() {
    let Some(guest) = guest_image() else {
        return skip("images", "no guest image (VIRIDIAN_GUEST)");
    };
    let folder = TempDir::new().unwrap();
    let make = |name: &str, kind: Option<Kind>, size: u64| {
        let path = folder.path().join(name);
        match kind {
            Some(kind) => create_file(&path, &CreateOptions::new(size, kind)).unwrap(),
            None => std::fs::File::create(&path).unwrap().set_len(size).unwrap(),
        }
        fill(&path, 4 << 20);
        path
    };
    // One of them larger than the others by far, and mostly hole: it is hashed, not stored.
    for path in [
        make("raw.img", None, 1 << 30),
        make("fixed.vhd", Some(Kind::Fixed), 8 << 20),
        make(
            "dynamic.vhd",
            Some(Kind::Dynamic {
                block_size: 2 << 20,
            }),
            64 << 20,
        ),
    ] {
        use std::os::unix::fs::MetadataExt;
        let before = std::fs::metadata(&path).unwrap();
        let name = path.display();
        let scratch = format!("{name},scratch");
        let report = demo(
            &guest,
            "inproc",
            "1",
            &format!("{name},ro"),
            &["--disk", &scratch],
        );
        assert_eq!(
            report["guest"]["disk.0.sha256"], report["host_sha256"]["0"],
            "{name}"
        );
        assert!(report["guest"]["disk.1.verify"].is_string(), "{name}");
        let after = std::fs::metadata(&path).unwrap();
        assert_eq!(
            (before.len(), before.blocks(), before.mtime()),
            (after.len(), after.blocks(), after.mtime())
        );
    }
}

#[test]
fn an_ide_disk_and_a_trace() {
    let Some(guest) = guest_image() else {
        return skip("ide", "no guest image (VIRIDIAN_GUEST)");
    };
    let folder = TempDir::new().unwrap();
    let (path, trace) = (
        folder.path().join("disk.img"),
        folder.path().join("trace.json"),
    );
    std::fs::File::create(&path).unwrap().set_len(DISK).unwrap();
    fill(&path, DISK);
    let ide = format!("{},ro,ide", path.display());
    let more = [
        "--disk",
        &ide,
        "--trace",
        trace.to_str().unwrap(),
        "--vmbus-version",
        "4.0",
    ];
    let report = demo(
        &guest,
        "inproc",
        "2",
        &format!("{},scratch", path.display()),
        &more,
    );
    assert_eq!(report["guest"]["vmbus.version"], "4.0");
    let hashes: Vec<_> = report["guest"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|key| key.ends_with("sha256"))
        .collect();
    assert_eq!(
        hashes.len(),
        1,
        "the IDE disk is hashed, the other one is written"
    );
    let lines: Vec<Value> = std::fs::read_to_string(&trace)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for event in ["message-from-guest", "message-to-guest", "opened", "closed"] {
        assert!(
            lines.iter().any(|line| line["event"] == event),
            "{event} is not in the trace"
        );
    }
}
