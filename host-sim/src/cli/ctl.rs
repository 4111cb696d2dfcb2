//! `host-sim ctl`: a verb for a machine that runs.

use std::path::PathBuf;

use clap::Args;
use host_sim::control::path::socket_path;
use host_sim::control::{Client, DiskRequest, DvdRequest, NicRequest, Request, VssRequest};

use super::Error;

#[derive(Args, Debug)]
pub(crate) struct CtlOptions {
    /// The machine: the name that `host-sim run --name` gave it, or its control socket's path (with a slash)
    name: String,
    #[command(subcommand)]
    request: Request,
}

pub(crate) fn run(options: &CtlOptions) -> Result<(), Error> {
    let path = socket_path(&options.name);
    let mut client = Client::connect(&path).map_err(|error| {
        Error::failed(format!(
            "no machine '{}' listens at '{}': {error}",
            options.name,
            path.display()
        ))
    })?;
    let mut request = options.request.clone();
    make_paths_absolute(&mut request).map_err(Error::failed)?;
    let answer = client.call(&request).map_err(Error::failed)?;
    let text = serde_json::to_string_pretty(&answer).map_err(Error::failed)?;
    say!("{text}");
    Ok(())
}

/// The machine opens files by itself, and may have another working directory.
fn make_paths_absolute(request: &mut Request) -> std::io::Result<()> {
    // The path that a text begins with, up to a comma.
    let first_absolute = |text: &str| {
        let (path, options) = text.split_at(text.find(',').unwrap_or(text.len()));
        let absolute = std::path::absolute(path)?;
        let absolute = absolute
            .to_str()
            .ok_or_else(|| std::io::Error::other("the working directory's name is no text"))?;
        Ok::<_, std::io::Error>(format!("{absolute}{options}"))
    };
    let absolute = |path: &mut PathBuf| {
        *path = std::path::absolute(&*path)?;
        Ok(())
    };
    match request {
        Request::Screenshot { path } => absolute(path),
        Request::CopyFile(copy) => absolute(&mut copy.source),
        Request::Vss(VssRequest::Backup { to, .. }) => absolute(to),
        Request::Dvd(DvdRequest::Insert { image, .. }) => absolute(image),
        Request::Disk(DiskRequest::Add { disk, .. }) => {
            *disk = first_absolute(disk)?;
            Ok(())
        }
        Request::Nic(NicRequest::Add { nic }) => {
            for network in ["switch:", "passt:"] {
                if let Some(path) = nic.strip_prefix(network) {
                    *nic = format!("{network}{}", first_absolute(path)?);
                    break;
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_caller() {
        let here = std::env::current_dir().unwrap();
        let mut request = Request::Disk(DiskRequest::Add {
            controller: 0,
            lun: 1,
            disk: "a.img,ro,format=raw".to_owned(),
        });
        make_paths_absolute(&mut request).unwrap();
        let Request::Disk(DiskRequest::Add { disk, .. }) = request else {
            unreachable!()
        };
        assert_eq!(disk, format!("{}/a.img,ro,format=raw", here.display()));

        for (given, made) in [
            ("switch:lan,vlan=7", "switch:HERE/lan,vlan=7"),
            ("passt:p.socket", "passt:HERE/p.socket"),
            ("switch:/s", "switch:/s"),
            ("tap:lan", "tap:lan"),
            ("passt", "passt"),
        ] {
            let nic = given.to_owned();
            let mut request = Request::Nic(NicRequest::Add { nic });
            make_paths_absolute(&mut request).unwrap();
            let nic = made.replace("HERE", here.to_str().unwrap());
            assert_eq!(request, Request::Nic(NicRequest::Add { nic }));
        }

        let mut request = Request::Screenshot {
            path: "s.png".into(),
        };
        make_paths_absolute(&mut request).unwrap();
        assert_eq!(
            request,
            Request::Screenshot {
                path: here.join("s.png")
            }
        );
    }
}
