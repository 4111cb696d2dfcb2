//! Where the socket of a machine with a name lies.

use std::env;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The socket that `name` stands for: `name` itself if it is a path (has a slash), else a file in the user's runtime
/// folder.
#[must_use]
pub fn socket_path(name: &str) -> PathBuf {
    if name.contains('/') {
        return PathBuf::from(name);
    }
    folder().join(format!("{name}.sock"))
}

/// `$XDG_RUNTIME_DIR/host-sim`, or a folder of the user's own under the folder for temporary files.
fn folder() -> PathBuf {
    match env::var_os("XDG_RUNTIME_DIR") {
        Some(folder) if Path::new(&folder).is_absolute() => Path::new(&folder).join("host-sim"),
        _ => env::temp_dir().join(format!("host-sim-{}", nix::unistd::geteuid())),
    }
}

/// Makes the folder of the sockets with a name, for the user alone.
///
/// # Errors
/// The host refuses, or the folder is somebody else's.
pub(super) fn make_folder(socket: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    let folder = folder();
    if socket.parent() != Some(folder.as_path()) {
        return Ok(());
    }
    match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Others may make folders in the one for temporary files, also under our name.
    let metadata = std::fs::symlink_metadata(&folder)?;
    let is_ours = metadata.is_dir() && metadata.uid() == nix::unistd::geteuid().as_raw();
    if is_ours && metadata.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(std::io::Error::other(format!(
            "'{}' is not a folder that only this user can write",
            folder.display()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_told_apart() {
        assert_eq!(socket_path("./a"), PathBuf::from("./a"));
        assert_eq!(socket_path("/x/a.sock"), PathBuf::from("/x/a.sock"));
        let named = socket_path("web");
        assert!(named.is_absolute());
        assert_eq!(named.file_name().unwrap(), "web.sock");
    }
}
