//! The standard library's source from Debian's archive, without installing anything and without being root.
//!
//! Trust goes from the archive's keys over the suite's release file and its package index to the package: each holds
//! the SHA-256 of the next. Without `gpgv` or the keys, HTTPS must vouch for the release file. The archive is the one
//! that `apt` is set up for, or what `VIRIDIAN_DEBIAN_ARCHIVE` names.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::download::{self, Sum};
use crate::run::{self, Error, check, say};

/// Names an archive, such as a mirror near by, instead of the one of `apt`.
const ARCHIVE_VARIABLE: &str = "VIRIDIAN_DEBIAN_ARCHIVE";

/// Where `apt` keeps the list of its archives: a file, and a folder of such files.
const APT_LIST: &str = "/etc/apt/sources.list";
const APT_LISTS: &str = "/etc/apt/sources.list.d";

/// Suites that may carry the compiler's version, the likeliest first.
const SUITES: [&str; 4] = ["trixie-backports", "trixie", "forky", "sid"];

const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A package in an index.
#[derive(Debug, PartialEq, Eq)]
struct Package {
    version: String,
    path: String,
    sum: Sum,
}

/// Fetches and unpacks the source of a compiler's version. Returns the `library` folder, in the cache.
pub(super) fn rust_source(version: &str) -> Result<PathBuf, Error> {
    let cache = cache_dir()?;
    let library = cache.join(format!("rust-library-{version}"));
    if library.is_dir() {
        say(&format!("the source is in {}", library.display()));
        return Ok(library);
    }
    let work = cache.join(format!("work-{}", std::process::id()));
    std::fs::create_dir_all(&work)?;
    let result = fetch(version, &work).and_then(|unpacked| {
        let found = find_library(&unpacked)
            .ok_or_else(|| Error::new("the package holds no library folder"))?;
        // Complete or absent: an interrupted unpacking leaves only the work folder.
        std::fs::rename(found, &library)?;
        Ok(library)
    });
    let _ = std::fs::remove_dir_all(&work);
    result
}

/// The archive's address, without a slash at its end.
fn archive() -> Result<String, Error> {
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

fn fetch(version: &str, work: &Path) -> Result<PathBuf, Error> {
    let archive = archive()?;
    let mut looked = Vec::new();
    for suite in SUITES {
        say(&format!(
            "looking for rust-src {version} in Debian's suite {suite}"
        ));
        match index(&archive, suite, work).map(|index| find_package(&index, version)) {
            Ok(Some(package)) => return unpack(&archive, &package, work),
            Ok(None) => looked.push(format!("{suite} has another version")),
            Err(error) => looked.push(format!("{suite}: {error}")),
        }
    }
    Err(Error::new(format!(
        "no suite gives rust-src {version}: {}",
        looked.join("; ")
    )))
}

/// A suite's package index, checked and unpacked.
fn index(archive: &str, suite: &str, work: &Path) -> Result<String, Error> {
    let release_file = work.join(format!("{suite}.release"));
    let base = format!("{archive}/dists/{suite}");
    download::fetch(&format!("{base}/InRelease"), &release_file)?;
    let release = signed_text(archive, &release_file)?;
    let (suffix, tool) = if run::works("xz", &["--version"]) {
        ("xz", "xz")
    } else {
        ("gz", "gzip")
    };
    let name = format!("main/binary-amd64/Packages.{suffix}");
    let sum = sum_in_release(&release, &name)
        .ok_or_else(|| Error::new(format!("the release file does not list {name}")))?;
    let packed = work.join(format!("{suite}.packages.{suffix}"));
    download::fetch(&format!("{base}/{name}"), &packed)?;
    sum.check(&packed)?;
    let output = Command::new(tool).arg("-dc").arg(&packed).output()?;
    if !output.status.success() {
        return Err(Error::new(format!("{tool} cannot unpack the index")));
    }
    String::from_utf8(output.stdout).map_err(|_| Error::new("the index is not text"))
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

/// The source package of a compiler's version: Debian appends its own revision, as in `1.95.0+dfsg1-2`.
fn find_package(index: &str, compiler: &str) -> Option<Package> {
    index
        .split("\n\n")
        .filter(|entry| entry.lines().any(|line| line == "Package: rust-src"))
        .find_map(|entry| {
            let field = |name: &str| {
                let mut lines = entry.lines();
                lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            };
            let version = field("Version")?;
            let revision = version.strip_prefix(compiler)?;
            if !revision.starts_with(['+', '-', '~']) {
                return None;
            }
            Some(Package {
                version: version.to_owned(),
                path: field("Filename")?.to_owned(),
                sum: Sum::parse(field("SHA256")?)?,
            })
        })
}

fn unpack(archive: &str, package: &Package, work: &Path) -> Result<PathBuf, Error> {
    say(&format!(
        "fetching the standard library's source, rust-src {}",
        package.version
    ));
    let file = work.join("rust-src.deb");
    download::fetch(&format!("{archive}/{}", package.path), &file)?;
    package.sum.check(&file)?;
    let folder = work.join("unpacked");
    std::fs::create_dir_all(&folder)?;
    if run::works("dpkg-deb", &["--version"]) {
        check(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&folder))?;
    } else {
        // A package is an `ar` archive with a `tar` archive inside.
        check(
            Command::new("ar")
                .arg("x")
                .arg(&file)
                .arg("data.tar.xz")
                .current_dir(work),
        )?;
        check(
            Command::new("tar")
                .arg("-xf")
                .arg(work.join("data.tar.xz"))
                .arg("-C")
                .arg(&folder),
        )?;
    }
    Ok(folder)
}

/// The `library` folder inside an unpacked package: `usr/src/rustc-VERSION/library`.
fn find_library(unpacked: &Path) -> Option<PathBuf> {
    let sources = std::fs::read_dir(unpacked.join("usr/src")).ok()?;
    let mut libraries = sources.flatten().map(|entry| entry.path().join("library"));
    libraries.find(|library| library.join("core/src/lib.rs").is_file())
}

fn cache_dir() -> Result<PathBuf, Error> {
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
    fn the_package_of_exactly_this_version_is_found() {
        let entry = |package: &str, version: &str| {
            format!(
                "Package: {package}\nVersion: {version}\nFilename: pool/{version}.deb\nSHA256: {SUM}"
            )
        };
        let index = [
            entry("rust-all", "1.95.0+dfsg1-1"),
            entry("rust-src", "1.94.1+dfsg1-1"),
            entry("rust-src", "1.95.01+dfsg1-1"),
            entry("rust-src", "1.95.0+dfsg1-2~bpo13+1"),
        ]
        .join("\n\n");
        let package = find_package(&index, "1.95.0").unwrap();
        assert_eq!(package.path, "pool/1.95.0+dfsg1-2~bpo13+1.deb");
        assert_eq!(find_package(&index, "1.96.0"), None);
        assert_eq!(find_package("", "1.95.0"), None);
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
