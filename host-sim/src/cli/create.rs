//! `host-sim create`: a new image.

use std::fs::File;

use host_sim::disk::vhd::{self, CreateOptions, Kind};

use super::Error;
use super::arguments::{CreateArguments, ImageChoice};

pub(crate) fn run(arguments: &CreateArguments) -> Result<(), Error> {
    let (path, size) = (&arguments.image, arguments.size.0);
    if size == 0 || !size.is_multiple_of(512) {
        return Err(Error::usage(format!(
            "{size} bytes are no whole number of sectors of 512 bytes"
        )));
    }
    let failed = |error: &dyn std::fmt::Display| {
        Error::failed(format!("cannot make '{}': {error}", path.display()))
    };
    let kind = match arguments.format {
        ImageChoice::Vhd => Kind::Dynamic {
            block_size: vhd::DEFAULT_BLOCK_SIZE,
        },
        ImageChoice::VhdFixed => Kind::Fixed,
        ImageChoice::Raw => {
            let file = File::create_new(path).map_err(|error| failed(&error))?;
            return file.set_len(size).map_err(|error| {
                // The error says what happened; that the rest could not be removed either adds nothing.
                let _ = std::fs::remove_file(path);
                failed(&error)
            });
        }
    };
    vhd::create_file(path, &CreateOptions::new(size, kind)).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::arguments::Size;
    use host_sim::disk::{ImageFormat, OpenOptions, open};

    #[test]
    fn images_are_made_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        for (name, format, made) in [
            ("a.vhd", ImageChoice::Vhd, ImageFormat::VhdDynamic),
            ("b.vhd", ImageChoice::VhdFixed, ImageFormat::VhdFixed),
            ("c.img", ImageChoice::Raw, ImageFormat::Raw),
        ] {
            let mut arguments = CreateArguments {
                image: folder.path().join(name),
                size: Size(8 << 20),
                format,
            };
            run(&arguments).unwrap();
            let image = open(&arguments.image, &OpenOptions::default()).unwrap();
            assert_eq!((image.info().format, image.info().size), (made, 8 << 20));
            drop(image);
            assert_eq!(run(&arguments).unwrap_err().exit_code(), 1, "{name} exists");
            arguments.image = folder.path().join("other");
            for size in [0, 513] {
                arguments.size = Size(size);
                assert_eq!(run(&arguments).unwrap_err().exit_code(), 2);
            }
            assert!(!arguments.image.exists());
        }
    }
}
