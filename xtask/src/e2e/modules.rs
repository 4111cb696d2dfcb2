//! The modules of an unpacked kernel package, which has no `modules.dep` yet.

use std::collections::{HashMap, HashSet};
use std::io::Cursor;
use std::path::{Path, PathBuf};

use super::elf;
use crate::run::Error;

/// A kernel's modules.
pub(crate) struct Modules {
    files: HashMap<String, PathBuf>,
    built_in: HashSet<String>,
}

/// A module to be loaded.
pub(crate) struct Module {
    /// Its name, with underscores.
    pub(crate) name: String,
    /// Its contents, not compressed.
    pub(crate) contents: Vec<u8>,
}

impl Modules {
    /// Lists the modules in a folder such as `lib/modules/6.1.0-50-cloud-amd64`.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let mut files = HashMap::new();
        let mut folders = vec![folder.join("kernel")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else if let Some(name) = name_of(&entry.file_name().to_string_lossy()) {
                    files.insert(name, entry.path());
                }
            }
        }
        let built_in = std::fs::read_to_string(folder.join("modules.builtin"))?;
        let built_in = built_in.lines();
        let built_in = built_in.filter_map(|path| name_of(path.rsplit('/').next()?));
        Ok(Self {
            files,
            built_in: built_in.collect(),
        })
    }

    /// Whether the kernel has a driver, as a module or built in.
    pub(crate) fn has(&self, name: &str) -> bool {
        let name = underscored(name);
        self.files.contains_key(&name) || self.built_in.contains(&name)
    }

    /// Modules and all that they need, each behind what it needs. What is built in is left out.
    ///
    /// # Errors
    /// A module is missing, damaged, or compressed in an unknown way.
    pub(crate) fn in_load_order(&self, names: &[&str]) -> Result<Vec<Module>, Error> {
        let mut loaded = Vec::new();
        let mut met = HashSet::new();
        for name in names {
            self.append(&underscored(name), &mut met, &mut loaded)?;
        }
        Ok(loaded)
    }

    fn append(
        &self,
        name: &str,
        met: &mut HashSet<String>,
        loaded: &mut Vec<Module>,
    ) -> Result<(), Error> {
        if self.built_in.contains(name) || !met.insert(name.to_owned()) {
            return Ok(());
        }
        let file = self.files.get(name);
        let file = file.ok_or_else(|| Error::new(format!("the kernel has no module {name}")))?;
        let contents = read(file)?;
        let dependencies = elf::module_dependencies(&contents)
            .map_err(|error| Error::new(format!("{}: {error}", file.display())))?;
        for dependency in dependencies {
            self.append(&underscored(&dependency), met, loaded)?;
        }
        loaded.push(Module {
            name: name.to_owned(),
            contents,
        });
        Ok(())
    }
}

/// The kernel takes hyphens and underscores in modules' names for the same.
fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

fn name_of(file: &str) -> Option<String> {
    let (name, ending) = file.split_once('.')?;
    matches!(ending, "ko" | "ko.xz").then(|| underscored(name))
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    let contents = std::fs::read(file)?;
    if file.extension().is_none_or(|ending| ending != "xz") {
        return Ok(contents);
    }
    let mut unpacked = Vec::new();
    lzma_rs::xz_decompress(&mut Cursor::new(contents), &mut unpacked)
        .map_err(|error| Error::new(format!("{}: {error}", file.display())))?;
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_files() {
        assert_eq!(name_of("hid-hyperv.ko.xz").as_deref(), Some("hid_hyperv"));
        assert_eq!(name_of("hv_vmbus.ko").as_deref(), Some("hv_vmbus"));
        assert_eq!(name_of("modules.order"), None);
        assert_eq!(name_of("README"), None);
    }

    #[test]
    fn built_in_drivers_need_no_loading_and_missing_ones_are_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("kernel/drivers")).unwrap();
        std::fs::write(
            folder.path().join("modules.builtin"),
            "kernel/drivers/input/serio/serio.ko\n",
        )
        .unwrap();
        std::fs::write(folder.path().join("kernel/drivers/bad.ko"), "no module").unwrap();
        let modules = Modules::open(folder.path()).unwrap();
        assert!(modules.has("serio") && modules.has("bad") && !modules.has("other"));
        assert!(modules.in_load_order(&["serio"]).unwrap().is_empty());
        for name in ["bad", "other"] {
            assert!(modules.in_load_order(&[name]).is_err());
        }
    }
}
