//! What ELF files say about the files that they need.

use object::elf::{DT_NEEDED, FileHeader32, FileHeader64, PT_INTERP};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, FileKind, Object, ObjectSection};

use crate::run::Error;

/// What a program or library needs to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The dynamic loader's path. Libraries and static programs name none.
    pub(crate) interpreter: Option<String>,
    /// Names of libraries.
    pub(crate) libraries: Vec<String>,
}

/// Reads what a program or library needs. A file that is not ELF, such as a script, needs nothing.
///
/// # Errors
/// The file is damaged.
pub(crate) fn needs(file: &[u8]) -> Result<Needs, Error> {
    let read = match FileKind::parse(file) {
        Ok(FileKind::Elf64) => needs_of::<FileHeader64<Endianness>>(file),
        Ok(FileKind::Elf32) => needs_of::<FileHeader32<Endianness>>(file),
        _ => Ok(Needs::default()),
    };
    read.map_err(|error| Error::new(format!("damaged program: {error}")))
}

fn needs_of<Header: FileHeader<Endian = Endianness>>(file: &[u8]) -> object::Result<Needs> {
    let header = Header::parse(file)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, file)?;
    let mut needs = Needs::default();
    for segment in segments {
        if segment.p_type(endian) == PT_INTERP
            && let Ok(path) = segment.data(endian, file)
        {
            let path = String::from_utf8_lossy(path);
            needs.interpreter = Some(path.trim_end_matches('\0').to_owned());
        }
    }
    let sections = header.sections(endian, file)?;
    if let Some((entries, strings)) = sections.dynamic(endian, file)? {
        let strings = sections.strings(endian, file, strings)?;
        for entry in entries {
            if entry.tag(endian) == DT_NEEDED {
                let name = entry.string(endian, strings)?;
                let name = String::from_utf8_lossy(name);
                needs.libraries.push(name.into_owned());
            }
        }
    }
    Ok(needs)
}

/// The names of the modules that a kernel module needs.
///
/// # Errors
/// The file is no kernel module.
pub(crate) fn module_dependencies(file: &[u8]) -> Result<Vec<String>, Error> {
    let section = object::File::parse(file).ok().and_then(|module| {
        let section = module.section_by_name(".modinfo")?;
        section.data().ok()
    });
    let section = section.ok_or_else(|| Error::new("no kernel module: it has no .modinfo"))?;
    let mut fields = section.split(|byte| *byte == 0);
    let list = fields.find_map(|field| field.strip_prefix(b"depends="));
    let list = String::from_utf8_lossy(list.unwrap_or_default());
    let names = list.split(',').filter(|name| !name.is_empty());
    Ok(names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_program_needs_what_it_was_linked_with() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let needs = needs(&file).unwrap();
        assert!(needs.interpreter.unwrap().contains("ld"));
        assert!(
            needs
                .libraries
                .iter()
                .any(|name| name.starts_with("libc.so"))
        );
        assert!(module_dependencies(&file).is_err());
    }

    #[test]
    fn scripts_need_nothing_and_damaged_files_are_told() {
        assert_eq!(needs(b"#!/bin/sh\n").unwrap(), Needs::default());
        let mut file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        file.truncate(70);
        assert!(needs(&file).is_err());
    }
}
