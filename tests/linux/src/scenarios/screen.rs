//! What the guest draws is what the host shows.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::guest::Guest;
use crate::rfb::RfbClient;
use crate::scenario::{Scenario, Trouble, ensure};

/// The frame buffer, as PNG and by VNC.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "screen",
    about: "a picture in the guest's frame buffer is the PNG's and the VNC client's, pixel for pixel, at two resolutions",
    kernels: &["6.1", "6.12", "6.12-generic"],
    cpus: &[1, 2],
    limit: Duration::from_secs(60),
    run,
};

/// Between two looks at the screen.
const STEP: Duration = Duration::from_millis(200);

/// A picture: its size, and red, green and blue of each pixel, row by row.
#[derive(PartialEq, Eq)]
struct Picture {
    width: u32,
    height: u32,
    pixels: Vec<[u8; 3]>,
}

fn run(context: &mut Context) -> Result<(), Trouble> {
    for (width, height) in [(800, 600), (1152, 864)] {
        resolution(context, width, height)
            .map_err(|trouble| trouble.during(&format!("{width}x{height}")))?;
    }
    Ok(())
}

fn resolution(context: &mut Context, width: u32, height: u32) -> Result<(), Trouble> {
    let pattern = pattern(width, height);
    // The picture comes to the guest as a disk.
    let image = context.scratch().join("pattern");
    std::fs::write(&image, in_memory(&pattern))?;
    let painter = context.own_program()?;
    let socket = context.scratch().join("vnc");
    let _ = std::fs::remove_file(&socket);
    let mut machine = context
        .machine()
        .disk(&image, &["ro"])
        .disk(&painter, &["ro"])
        // For the frame buffer's driver, and for that of DRM, which kernels of the general flavour have.
        .word(&format!("video=hyperv_fb:{width}x{height}"))
        .word(&format!("video=Virtual-1:{width}x{height}"))
        .arguments(["--screen", "--vnc", &format!("unix:{}", socket.display())]);
    machine.name = format!("screen-{width}");
    let mut guest = context.start(&machine)?;
    let (disk, painter) = (guest.disk(0)?, guest.disk(1)?);
    // A client that watches while the picture is drawn.
    let mut client = RfbClient::connect(&socket, context.patience())?;
    client.picture()?;
    let bytes = width * height * 4;
    // The console's cursor must not blink in the picture.
    guest.sh(&format!(
        "for c in /sys/class/vtconsole/vtcon*; do grep -q frame $c/name && echo 0 > $c/bind; done; cat /dev/{painter} > /tmp/painter; chmod +x /tmp/painter; /tmp/painter --draw /dev/{disk} /dev/fb0 {bytes}"
    ))?;

    let png = context.scratch().join("screen.png");
    let mut shown = screenshot(&guest, &png)?;
    let deadline = Instant::now() + context.patience() / 4;
    while shown != pattern && Instant::now() < deadline {
        std::thread::sleep(STEP);
        shown = screenshot(&guest, &png)?;
    }
    same(&shown, &pattern).map_err(|trouble| trouble.during("the PNG"))?;

    client.watch(context.patience() / 4, |size, pixels| {
        size == (width as u16, height as u16) && pixels == pattern.pixels
    })?;
    let seen = Picture {
        width: client.size().0.into(),
        height: client.size().1.into(),
        pixels: client.pixels().to_vec(),
    };
    same(&seen, &pattern).map_err(|trouble| trouble.during("the client that watched"))?;
    let mut late = RfbClient::connect(&socket, context.patience())?;
    let seen = Picture {
        pixels: late.picture()?.to_vec(),
        ..seen
    };
    same(&seen, &pattern).map_err(|trouble| trouble.during("a client that came later"))
}

/// No two rows or columns of it are alike, and all bits of each colour occur.
fn pattern(width: u32, height: u32) -> Picture {
    let pixel = |x: u32, y: u32| {
        let mixed = (x * 0x9E37 + y * 0x79B9) ^ (x * y);
        [
            (mixed ^ mixed >> 7) as u8,
            (x ^ y) as u8,
            (x * 255 / width) as u8 ^ (mixed >> 11) as u8,
        ]
    };
    let rows = (0..height).flat_map(|y| (0..width).map(move |x| pixel(x, y)));
    Picture {
        width,
        height,
        pixels: rows.collect(),
    }
}

/// A picture as Linux keeps it: blue, green, red and a byte that nobody sees.
fn in_memory(picture: &Picture) -> Vec<u8> {
    let pixels = picture.pixels.iter();
    pixels
        .flat_map(|[red, green, blue]| [*blue, *green, *red, 0])
        .collect()
}

fn screenshot(guest: &Guest, file: &Path) -> Result<Picture, Trouble> {
    guest.ctl(&["screenshot", &file.display().to_string()])?;
    let unreadable = |error: png::DecodingError| Trouble::failed(format!("the PNG: {error}"));
    let decoder = png::Decoder::new(std::io::BufReader::new(File::open(file)?));
    let mut reader = decoder.read_info().map_err(unreadable)?;
    let size = reader.output_buffer_size();
    let mut bytes = vec![0; size.ok_or_else(|| Trouble::failed("the PNG is too large"))?];
    let info = reader.next_frame(&mut bytes).map_err(unreadable)?;
    ensure(
        (info.color_type, info.bit_depth) == (png::ColorType::Rgb, png::BitDepth::Eight),
        || format!("the PNG has pixels of the kind {:?}", info.color_type),
    )?;
    Ok(Picture {
        width: info.width,
        height: info.height,
        pixels: bytes.as_chunks::<3>().0.to_vec(),
    })
}

fn same(shown: &Picture, expected: &Picture) -> Result<(), Trouble> {
    ensure(
        (shown.width, shown.height) == (expected.width, expected.height),
        || format!("it has {}x{} pixels", shown.width, shown.height),
    )?;
    let pairs = shown.pixels.iter().zip(&expected.pixels).enumerate();
    let mut wrong = pairs.filter(|(_, (shown, expected))| shown != expected);
    let Some((at, (shown, expected_pixel))) = wrong.next() else {
        return Ok(());
    };
    let (x, y) = (at as u32 % expected.width, at as u32 / expected.width);
    Err(Trouble::failed(format!(
        "{} pixels are wrong, first at {x},{y}: {shown:?} instead of {expected_pixel:?}",
        wrong.count() + 1
    )))
}
