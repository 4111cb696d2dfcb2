//! Debian's archive as a source of files: nothing is installed and nobody needs to be root.
//!
//! Trust goes from the archive's keys over the suite's release file and its package index to the package: each holds
//! the SHA-256 of the next. Without `gpgv` or the keys, HTTPS must vouch for the release file. The archive is the one
//! that `apt` is set up for, or what `VIRIDIAN_DEBIAN_ARCHIVE` names.
//!
//! What was fetched stays in the cache, so that later runs need no network: then the suite is as it was last seen.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::download::{self, Sum};
pub(crate) use super::package::{Index, Package, with_dependencies};
use crate::run::{self, Error, check, say};

/// Names an archive, such as a mirror near by, instead of the one of `apt`.
const ARCHIVE_VARIABLE: &str = "VIRIDIAN_DEBIAN_ARCHIVE";

/// Where `apt` keeps the list of its archives: a file, and a folder of such files.
const APT_LIST: &str = "/etc/apt/sources.list";
const APT_LISTS: &str = "/etc/apt/sources.list.d";

const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Debian's archive and the cache of what came from it.
pub(crate) struct Archive {
    address: String,
    cache: PathBuf,
}

impl Archive {
    /// Finds out which archive to ask. Nothing is fetched yet.
    ///
    /// # Errors
    /// No archive is known, or there is no place for the cache.
    pub(crate) fn open() -> Result<Self, Error> {
        Ok(Self {
            address: address()?,
            cache: cache_dir()?,
        })
    }

    /// A suite's package index, checked.
    ///
    /// # Errors
    /// The archive cannot be reached and the suite was never seen before, or what came is not what was signed.
    pub(crate) fn index(&self, suite: &str, architecture: &str) -> Result<Index, Error> {
        let folder = self.cache.join("suites");
        std::fs::create_dir_all(&folder)?;
        let release = self.release(suite, &folder)?;
        let (suffix, tool) = if run::works("xz", &["--version"]) {
            ("xz", "xz")
        } else {
            ("gz", "gzip")
        };
        let name = format!("main/binary-{architecture}/Packages.{suffix}");
        let sum = sum_in_release(&release, &name)
            .ok_or_else(|| Error::new(format!("the release file does not list {name}")))?;
        let packed = folder.join(format!("{suite}-{architecture}.{suffix}"));
        if !packed.is_file() || sum.check(&packed).is_err() {
            let address = format!("{}/dists/{suite}/{name}", self.address);
            let arriving = arriving(&packed);
            download::fetch(&address, &arriving)?;
            sum.check(&arriving)?;
            std::fs::rename(&arriving, &packed)?;
        }
        let output = Command::new(tool).arg("-dc").arg(&packed).output()?;
        if !output.status.success() {
            return Err(Error::new(format!("{tool} cannot unpack the index")));
        }
        let text = String::from_utf8(output.stdout);
        text.map(Index::new)
            .map_err(|_| Error::new("the index is not text"))
    }

    /// The signed text of a suite's release file: today's, or the last one seen where the archive is out of reach.
    fn release(&self, suite: &str, folder: &Path) -> Result<String, Error> {
        let last = folder.join(format!("{suite}.release"));
        let arriving = arriving(&last);
        let address = format!("{}/dists/{suite}/InRelease", self.address);
        match download::fetch(&address, &arriving) {
            Ok(()) => {
                let text = signed_text(&self.address, &arriving)?;
                std::fs::rename(&arriving, &last)?;
                Ok(text)
            }
            Err(error) if last.is_file() => {
                say(&format!("{error}; using the suite as it was last seen"));
                signed_text(&self.address, &last)
            }
            Err(error) => Err(error),
        }
    }

    /// A folder of the cache that holds the contents of all these packages, as if they were installed there.
    ///
    /// # Errors
    /// A package cannot be fetched, is not what the index says, or cannot be unpacked.
    pub(crate) fn unpacked(&self, label: &str, packages: &[Package]) -> Result<PathBuf, Error> {
        let mut key = Sha256::new();
        for package in packages {
            key.update(package.sum.hex());
        }
        let key: String = key.finalize()[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let folder = self.cache.join(format!("{label}-{key}"));
        if folder.is_dir() {
            return Ok(folder);
        }
        let work = self
            .cache
            .join(format!("work-{label}-{}", std::process::id()));
        std::fs::create_dir_all(&work)?;
        let result = self.unpack_all(packages, &work).and_then(|contents| {
            // Complete or absent: an interrupted unpacking leaves only the work folder.
            match std::fs::rename(contents, &folder) {
                Err(_) if folder.is_dir() => Ok(folder),
                renamed => renamed.map(|()| folder).map_err(Error::from),
            }
        });
        let _ = std::fs::remove_dir_all(&work);
        result
    }

    fn unpack_all(&self, packages: &[Package], work: &Path) -> Result<PathBuf, Error> {
        let contents = work.join("contents");
        std::fs::create_dir_all(&contents)?;
        for package in packages {
            say(&format!("fetching {} {}", package.name, package.version));
            let file = work.join("package.deb");
            download::fetch(&format!("{}/{}", self.address, package.path), &file)?;
            package.sum.check(&file)?;
            unpack(&file, &contents, work)?;
            std::fs::remove_file(&file)?;
        }
        Ok(contents)
    }
}

/// A name beside a file's, for as long as it is incomplete.
fn arriving(file: &Path) -> PathBuf {
    file.with_extension(format!("arriving.{}", std::process::id()))
}

/// The archive's address, without a slash at its end.
fn address() -> Result<String, Error> {
    if let Ok(address) = std::env::var(ARCHIVE_VARIABLE) {
        return Ok(address.trim_end_matches('/').to_owned());
    }
    let mut files = vec![PathBuf::from(APT_LIST)];
    if let Ok(folder) = std::fs::read_dir(APT_LISTS) {
        files.extend(folder.flatten().map(|entry| entry.path()));
    }
    let texts = files
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok());
    texts
        .into_iter()
        .find_map(|text| archive_in_list(&text))
        .ok_or_else(|| {
            Error::new(format!(
                "apt is not set up for a Debian archive here, and {ARCHIVE_VARIABLE} names none"
            ))
        })
}

/// The first Debian archive in a list of `apt`'s, of either format: other archives have other folders.
fn archive_in_list(list: &str) -> Option<String> {
    let lines = list
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'));
    let mut words = lines.flat_map(str::split_whitespace);
    let found = words.find(|word| {
        let is_address = word.starts_with("http://") || word.starts_with("https://");
        is_address && word.trim_end_matches('/').ends_with("/debian")
    });
    found.map(|address| address.trim_end_matches('/').to_owned())
}

/// The text of a release file as far as it is signed: what stands around a signature is nobody's word.
fn signed_text(archive: &str, release: &Path) -> Result<String, Error> {
    if !Path::new(KEYS).is_file() || !run::works("gpgv", &["--version"]) {
        if !archive.starts_with("https://") {
            return Err(Error::new(
                "no gpgv or no archive keys here, and the archive is not reached by HTTPS",
            ));
        }
        say("no gpgv or no archive keys here: relying on HTTPS");
        return Ok(std::fs::read_to_string(release)?);
    }
    let output = Command::new("gpgv")
        .args(["--quiet", "--output", "-", "--keyring", KEYS])
        .arg(release)
        .output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(format!(
            "the archive's signature is not valid: {}",
            text.trim()
        )));
    }
    String::from_utf8(output.stdout).map_err(|_| Error::new("the release file is not text"))
}

/// The sum of a file in a release file's list (lines of sum, size and name under `SHA256:`).
fn sum_in_release(release: &str, name: &str) -> Option<Sum> {
    release
        .lines()
        .skip_while(|line| *line != "SHA256:")
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .find_map(|line| {
            let mut words = line.split_whitespace();
            let sum = words.next()?;
            (words.nth(1)? == name).then(|| Sum::parse(sum))?
        })
}

/// Adds the contents of a package's file to a folder.
fn unpack(file: &Path, folder: &Path, work: &Path) -> Result<(), Error> {
    if run::works("dpkg-deb", &["--version"]) {
        return check(Command::new("dpkg-deb").arg("-x").arg(file).arg(folder));
    }
    // A package is an `ar` archive with a `tar` archive inside.
    check(
        Command::new("ar")
            .arg("x")
            .arg(file)
            .arg("data.tar.xz")
            .current_dir(work),
    )?;
    check(
        Command::new("tar")
            .arg("-xf")
            .arg(work.join("data.tar.xz"))
            .arg("-C")
            .arg(folder),
    )
}

/// Where fetched files stay, outside the clone.
///
/// # Errors
/// There is no home, or the folder cannot be made.
pub(crate) fn cache_dir() -> Result<PathBuf, Error> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .ok_or_else(|| Error::new("neither XDG_CACHE_HOME nor HOME is set"))?;
    let folder = base.join("viridian");
    std::fs::create_dir_all(&folder).map_err(|error| {
        Error::new(format!(
            "cannot make the cache {}: {error}",
            folder.display()
        ))
    })?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn both_formats_of_apt_are_read() {
        let new = "Types: deb\n# http://old.example/debian\nURIs: http://mirror.example/debian/\nSuites: stable\n";
        assert_eq!(
            archive_in_list(new).as_deref(),
            Some("http://mirror.example/debian")
        );
        let old = "deb [arch=amd64] https://security.example/debian-security x main\ndeb https://m.example/debian x main";
        assert_eq!(
            archive_in_list(old).as_deref(),
            Some("https://m.example/debian")
        );
        assert_eq!(archive_in_list("deb https://m.example/ubuntu x main"), None);
    }

    #[test]
    fn a_release_file_gives_the_sum_of_the_index() {
        let name = "main/binary-amd64/Packages.xz";
        let release = format!(
            "Suite: x\nMD5Sum:\n 00 1 {name}\nSHA256:\n {SUM} 7 other\n {SUM} 123 {name}\nEnd: x\n"
        );
        assert_eq!(sum_in_release(&release, name), Sum::parse(SUM));
        assert_eq!(sum_in_release(&release, "main/nothing"), None);
    }
}
