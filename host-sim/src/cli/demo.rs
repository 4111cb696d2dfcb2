//! The demo: what the guest is asked to show, and whether it has.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::thread::JoinHandle;

use host_sim::disk::{DiskError, DiskImage};
use host_sim::partition::kvm::EMULATION_LIMIT_MIPS;
use sha2::{Digest, Sha256};

use super::Error;
use super::arguments::RunOptions;
use super::guest::Ending;
use super::report::Report;

/// Bytes that the host hashes at a time.
const CHUNK: usize = 1 << 20;

/// Whether a processor of this speed needs to be given little work.
pub(super) fn is_slow(mips: f64) -> bool {
    mips < EMULATION_LIMIT_MIPS
}

/// The words for the guest.
pub(super) fn command_line(options: &RunOptions, slow: bool) -> String {
    let words = [
        options.demo.then_some("demo"),
        slow.then_some("slow"),
        (!options.append.is_empty()).then_some(options.append.as_str()),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// The hashes that the host computes while the guest runs, to compare with the guest's.
pub(super) struct Hashes {
    threads: BTreeMap<u8, JoinHandle<Result<String, DiskError>>>,
}

impl Hashes {
    pub(super) fn start(images: &BTreeMap<u8, Arc<dyn DiskImage>>) -> Self {
        let threads = images.iter().map(|(lun, image)| {
            let image = Arc::clone(image);
            (*lun, std::thread::spawn(move || hash(image.as_ref())))
        });
        Self {
            threads: threads.collect(),
        }
    }

    pub(super) fn are_done(&self) -> bool {
        self.threads.values().all(JoinHandle::is_finished)
    }

    pub(super) fn finish(self) -> BTreeMap<u8, String> {
        let results = self.threads.into_iter().map(|(lun, thread)| {
            let text = match thread.join() {
                Ok(Ok(hash)) => hash,
                Ok(Err(error)) => format!("failed: {error}"),
                Err(_) => "failed: the thread panicked".to_owned(),
            };
            (lun, text)
        });
        results.collect()
    }
}

/// SHA-256 of a whole image; its holes are hashed as the zeros that they read as, without being read.
fn hash(image: &dyn DiskImage) -> Result<String, DiskError> {
    let size = image.info().size;
    let (mut buffer, zeros) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut hasher = Sha256::new();
    let (mut position, mut data) = (0, image.next_data(0)?);
    while position < size {
        let left = usize::try_from(size - position).unwrap_or(CHUNK).min(CHUNK);
        // Whole chunks that lie before the next data are holes.
        while data.as_ref().is_some_and(|data| data.end <= position) {
            data = image.next_data(position)?;
        }
        let hole = data
            .as_ref()
            .is_none_or(|data| data.start >= position + left as u64);
        if hole {
            hasher.update(&zeros[..left]);
        } else {
            image.read_bytes(position, &mut buffer[..left])?;
            hasher.update(&buffer[..left]);
        }
        position += left as u64;
    }
    let mut text = String::new();
    for byte in hasher.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// Prints the report and says whether all went well.
pub(super) fn conclude(mut report: Report, ending: &Ending, json: bool) -> Result<(), Error> {
    let failed: Vec<_> = report
        .guest
        .with_prefix("failure")
        .map(|(_, text)| text.to_owned())
        .collect();
    report.failures.extend(failed);
    if !ending.is_clean {
        report.failures.push(ending.text.clone());
    }
    if !report.host_sha256.is_empty() && report.agreed_sha256().is_none() {
        report
            .failures
            .push("guest and host computed different hashes of the disk".to_owned());
    }
    if report.heartbeat.answered == 0 {
        report.failures.push("no heartbeat was answered".to_owned());
    }
    let is_good = report.failures.is_empty();
    if json {
        let text = serde_json::to_string_pretty(&report).map_err(Error::failed)?;
        announce!("{text}");
    } else {
        announce!("{}", report.to_text().trim_end());
        for failure in &report.failures {
            announce!("failure            {failure}");
        }
        if is_good {
            let hash = report.agreed_sha256().unwrap_or("-");
            announce!("demo: ok backend={} sha256={hash}", report.backend.name);
        }
    }
    if is_good {
        Ok(())
    } else {
        Err(Error::failed(format!(
            "the demo failed: {}",
            report.failures.join("; ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_sim::disk::{OpenOptions, open};

    #[test]
    fn holes_count_as_zeros() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(5 << 20).unwrap();
        let image = open(file.path(), &OpenOptions::default()).unwrap();
        image.write_bytes((3 << 20) - 512, &[7; 1024]).unwrap();
        let mut plain = vec![0; 5 << 20];
        plain[(3 << 20) - 512..(3 << 20) + 512].fill(7);
        let mut expected = String::new();
        for byte in Sha256::digest(&plain) {
            let _ = write!(expected, "{byte:02x}");
        }
        assert_eq!(hash(image.as_ref()).unwrap(), expected);
    }
}
