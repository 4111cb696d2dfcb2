//! Disks as operators write them: `PATH[,OPTION...]`.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use super::{DiskImage, FormatChoice, OnFull, OpenError, OpenOptions, Overlay, open, open_iso};

/// A disk or DVD drive that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskArgument {
    /// The image.
    pub path: PathBuf,
    /// The image is only read.
    pub read_only: bool,
    /// It is offered as an accelerated IDE disk instead of a LUN of a SCSI controller.
    pub ide: bool,
    /// The guest writes to a private copy that is thrown away.
    pub scratch: bool,
    /// It is a DVD drive with the image in it.
    pub dvd: bool,
    /// Layout of the image, if it is not to be guessed.
    pub format: FormatChoice,
    /// Bytes in a logical sector.
    pub sector_size: Option<u32>,
    /// What becomes of writes for which the host has no space.
    pub on_full: OnFull,
    /// The SCSI controller.
    pub controller: u8,
    /// The number on the controller; the next that is free if `None`.
    pub lun: Option<u8>,
}

/// An image for an argument can't be had.
#[derive(Debug, Error)]
pub enum DiskArgumentError {
    /// The image can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no file for the private copy.
    #[error("cannot make a scratch file: {0}")]
    Scratch(std::io::Error),
}

impl FromStr for DiskArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(',');
        let path = words.next().unwrap_or_default();
        if path.is_empty() {
            return Err("the image's path is missing".to_owned());
        }
        let mut disk = Self {
            path: path.into(),
            read_only: false,
            ide: false,
            scratch: false,
            dvd: false,
            format: FormatChoice::Auto,
            sector_size: None,
            on_full: OnFull::Fail,
            controller: 0,
            lun: None,
        };
        for word in words {
            disk.set(word)?;
        }
        if disk.read_only && disk.scratch {
            return Err("`ro` and `scratch` exclude each other".to_owned());
        }
        if disk.ide && (disk.lun.is_some() || disk.controller != 0) {
            return Err("an IDE disk has no place on a SCSI controller".to_owned());
        }
        let changes_a_dvd = disk.ide
            || disk.scratch
            || disk.format != FormatChoice::Auto
            || disk.sector_size.is_some()
            || disk.on_full != OnFull::Fail;
        if disk.dvd && changes_a_dvd {
            return Err("a DVD is read-only, raw, and on a SCSI controller".to_owned());
        }
        Ok(disk)
    }
}

impl DiskArgument {
    fn set(&mut self, word: &str) -> Result<(), String> {
        let small = |text: &str, most: u8| {
            let number = text.parse().ok().filter(|number| *number <= most);
            number.ok_or_else(|| format!("`{word}`: it is a number from 0 to {most}"))
        };
        match word.split_once('=') {
            None if word == "ro" => self.read_only = true,
            None if word == "ide" => self.ide = true,
            None if word == "scratch" => self.scratch = true,
            None if word == "dvd" => self.dvd = true,
            Some(("format", "raw")) => self.format = FormatChoice::Raw,
            Some(("format", "vhd")) => self.format = FormatChoice::Vhd,
            Some(("sector", "512")) => self.sector_size = Some(512),
            Some(("sector", "4096")) => self.sector_size = Some(4096),
            Some(("on-full", text)) => self.on_full = text.parse()?,
            Some(("controller", text)) => self.controller = small(text, 3)?,
            Some(("lun", text)) => self.lun = Some(small(text, 63)?),
            _ => {
                return Err(format!(
                    "unknown option `{word}`; there are ro, ide, scratch, dvd, format=raw|vhd, sector=512|4096, \
                     on-full=error|pause, controller=N and lun=N"
                ));
            }
        }
        Ok(())
    }

    /// Opens the image.
    ///
    /// # Errors
    /// [`DiskArgumentError`]; nothing was modified then.
    pub fn open(&self) -> Result<Arc<dyn DiskImage>, DiskArgumentError> {
        if self.dvd {
            return Ok(open_iso(&self.path)?);
        }
        let options = OpenOptions {
            format: self.format,
            read_only: self.read_only || self.scratch,
            sector_size: self.sector_size,
            ..OpenOptions::default()
        };
        let image = open(&self.path, &options)?;
        if !self.scratch {
            return Ok(image);
        }
        let overlay = Overlay::new(image).map_err(DiskArgumentError::Scratch)?;
        Ok(Arc::new(overlay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_read() {
        let disk: DiskArgument = "a/b.img,ro,ide,format=raw,sector=4096".parse().unwrap();
        assert_eq!(disk.path, PathBuf::from("a/b.img"));
        assert!(disk.read_only && disk.ide && !disk.scratch);
        assert_eq!(
            (disk.format, disk.sector_size),
            (FormatChoice::Raw, Some(4096))
        );
        let disk: DiskArgument = "x,on-full=pause,controller=3,lun=63".parse().unwrap();
        assert_eq!(
            (disk.on_full, disk.controller, disk.lun),
            (OnFull::Pause, 3, Some(63))
        );
        assert!("x.iso,dvd".parse::<DiskArgument>().unwrap().dvd);
        for text in [
            "",
            ",ro",
            "a,rw",
            "a,sector=513",
            "a,format=qcow2",
            "a,ro,scratch",
            "a,lun=64",
            "a,controller=4",
            "a,lun=-1",
            "a,ide,lun=1",
            "a,dvd,scratch",
            "a,dvd,sector=512",
            "a,on-full=explode",
        ] {
            assert!(text.parse::<DiskArgument>().is_err(), "{text}");
        }
    }
}
