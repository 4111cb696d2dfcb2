//! The screen against a scripted guest.

mod display_support;

use std::sync::Arc;

use display_support::video::{Bench, PLACE, VGA, emitted, location};
use display_support::{Guest, MIB, RAM, Sent, request};
use host_sim::display::picture::RgbImage;
use host_sim::display::png;
use host_sim::display::rectangle::Rectangle as Area;
use host_sim::display::screen::Screen;
use host_sim::partition::device_memory::MapEvent;
use host_sim::vmbus::vsp::{ChannelServices, Vsp};
use host_sim::vsp::video::{
    OptionsError, ProtocolVersion, ResolutionList, SnapshotError, VideoOptions,
};
use vmbus_core::class;
use vmbus_core::packet::OutgoingKind;
use vmbus_core::pipe;
use vsc_video::wire::{
    Dirt, Features, GuestMessage, HostMessage, PointerFormat, PointerPosition, PointerShape,
    Rectangle, Situation, Version, edid,
};

fn decode(file: &[u8]) -> (u32, u32, Vec<u8>) {
    let mut reader = ::png::Decoder::new(std::io::Cursor::new(file))
        .read_info()
        .unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    (info.width, info.height, bytes)
}

// VH1
#[test]
fn versions_are_accepted_and_rejected() {
    let mut bench = Bench::new(VideoOptions::default());
    let offer = bench.device.offer();
    assert_eq!(offer.interface, class::VIDEO);
    assert_eq!((offer.mmio_megabytes, offer.flags), (8, 0x10));
    for raw in [4, 0x0006_0003, 0, 3, 0x0001_0003, 0x0005_0004, u32::MAX] {
        assert!(!bench.negotiate(Version(raw)), "{raw:#x}");
        assert_eq!(bench.handle.status().version, None);
    }
    for version in ProtocolVersion::ALL.into_iter().skip(1) {
        assert!(bench.negotiate(version.wire()));
        assert_eq!(bench.handle.status().version, Some(version.to_string()));
    }
    assert_eq!(bench.handle.status().counters.rejected_versions, 7);
    for newest in ProtocolVersion::ALL.into_iter().skip(1) {
        let mut bench = Bench::new(VideoOptions {
            newest,
            ..VideoOptions::default()
        });
        for version in ProtocolVersion::ALL {
            let expected = version <= newest && version != ProtocolVersion::V3_0;
            assert_eq!(bench.negotiate(version.wire()), expected);
        }
    }
    let mut old = Bench::new(VideoOptions::windows_7());
    assert!(!old.negotiate(Version::new(3, 2)));
    assert!(old.negotiate(Version::new(3, 0)));
    let refused = bench.device.open(request(1), ChannelServices::inert());
    assert!(refused.is_err());
}

#[test]
fn pixels_of_32_bits_reach_the_png_file() {
    let wide = Situation {
        width: 800,
        height: 600,
        pitch: 800 * 4 + 64,
        ..VGA
    };
    for (version, situation) in [(ProtocolVersion::V3_2, VGA), (ProtocolVersion::V3_5, wide)] {
        let bench = Bench::shown(VideoOptions::default(), version, situation);
        let mut expected = Vec::new();
        for y in 0..situation.height {
            for x in 0..situation.width {
                let (red, green, blue) = (x as u8, y as u8, ((x * y) >> 4) as u8);
                let at = PLACE + u64::from(y * situation.pitch + x * 4);
                assert!(bench.mapper.guest_write(at, &[blue, green, red, 0xEE]));
                expected.extend([red, green, blue]);
            }
        }
        let image = bench.handle.snapshot().unwrap();
        assert_eq!(image.as_bytes(), expected);
        let file = png::encode(&image).unwrap();
        assert_eq!(decode(&file), (situation.width, situation.height, expected));
    }
}

#[test]
fn pixels_of_16_bits_reach_the_image() {
    let situation = Situation {
        depth_bits: 16,
        width: 800,
        height: 600,
        pitch: 1600,
        ..VGA
    };
    let bench = Bench::shown(VideoOptions::windows_7(), ProtocolVersion::V3_0, situation);
    assert!(bench.mapper.guest_write(PLACE, &[0x00, 0xF8, 0xE0, 0x07]));
    assert!(bench.mapper.guest_write(PLACE + 1600 * 600 - 2, &[0x1F, 0]));
    let image = bench.handle.snapshot().unwrap();
    assert_eq!(image.pixel(0, 0), Some([0xFF, 0, 0]));
    assert_eq!(image.pixel(1, 0), Some([0, 0xFF, 0]));
    assert_eq!(image.pixel(799, 599), Some([0, 0, 0xFF]));
    assert_eq!(image.pixel(2, 0), Some([0, 0, 0]));
}

// VH10
#[test]
fn firmware_that_says_nothing_more_is_shown() {
    let mut bench = Bench::new(VideoOptions::default());
    assert_eq!(bench.handle.snapshot(), Err(SnapshotError::NoPicture));
    bench.start(
        ProtocolVersion::V3_2,
        Situation {
            active: 0,
            user_context: 0,
            width: 1024,
            height: 768,
            pitch: 4096,
            ..VGA
        },
    );
    assert!(
        bench
            .mapper
            .guest_write(PLACE + 4096 * 3 + 8, &[1, 2, 3, 0])
    );
    let image = bench.handle.snapshot().unwrap();
    assert_eq!(image.pixel(2, 3), Some([3, 2, 1]));
    assert!(
        !bench.handle.state().reports_damage,
        "a viewer has to compare"
    );
}

// VH3, VH9
#[test]
fn video_ram_comes_and_goes() {
    let mut bench = Bench::shown(VideoOptions::default(), ProtocolVersion::V3_5, VGA);
    let size = 8 * MIB;
    let map = |address| MapEvent::Map { address, size };
    let unmap = |address| MapEvent::Unmap { address };
    assert_eq!(bench.mapper.take_events(), [map(PLACE)]);
    assert!(bench.mapper.guest_write(PLACE, &[1, 2, 3, 0]));
    // Elsewhere, overlapping: the old place goes first, the pixels stay.
    let moved = PLACE + MIB;
    assert!(bench.place(Some(moved)));
    assert_eq!(bench.mapper.take_events(), [unmap(PLACE), map(moved)]);
    assert_eq!(
        bench.handle.snapshot().unwrap().pixel(0, 0),
        Some([3, 2, 1])
    );
    assert!(bench.place(None));
    assert_eq!(bench.mapper.take_events(), [unmap(moved)]);
    assert_eq!(bench.handle.snapshot(), Err(SnapshotError::NoPicture));
    assert!(bench.place(Some(PLACE)));
    assert!(bench.handle.snapshot().is_ok(), "the mode was remembered");
    // A driver that starts anew on a live channel.
    assert!(bench.negotiate(Version::new(3, 5)));
    assert_eq!(bench.mapper.take_events(), [map(PLACE), unmap(PLACE)]);
    assert_eq!(bench.handle.mode(), None);
    bench.start(ProtocolVersion::V3_5, VGA);
    bench.guest.close();
    assert_eq!(bench.mapper.take_events(), [map(PLACE), unmap(PLACE)]);
    assert_eq!(bench.handle.snapshot(), Err(SnapshotError::NotOpen));
    // Firmware has gone, the driver comes.
    bench.guest = Guest::open(&mut bench.device, 8);
    assert!(bench.say(&location(Some(PLACE))).is_empty(), "out of turn");
    bench.start(ProtocolVersion::V3_5, VGA);
    assert!(bench.handle.snapshot().is_ok());
}

#[test]
fn a_guest_may_draw_into_its_own_ram() {
    let mut bench = Bench::new(VideoOptions::default());
    assert!(bench.negotiate(Version::new(3, 5)));
    assert!(bench.place(Some(16 * MIB)));
    assert!(bench.set(VGA));
    assert!(bench.mapper.take_events().is_empty());
    bench
        .guest
        .memory
        .write(16 * MIB + 4, &[9, 8, 7, 0])
        .unwrap();
    let image = bench.handle.snapshot().unwrap();
    assert_eq!(image.pixel(1, 0), Some([7, 8, 9]));
    assert!(bench.place(Some(RAM - 8 * MIB)));
    // Half of it would lie beyond.
    assert!(!bench.place(Some(RAM - 4 * MIB)));
}

#[test]
fn changes_are_reported_with_numbers() {
    let mut bench = Bench::shown(VideoOptions::default(), ProtocolVersion::V3_5, VGA);
    let start = bench.handle.state();
    assert_eq!(start.size, Some((640, 480)));
    assert_eq!(
        bench.handle.damage_since(0).rectangles,
        [Area::sized(640, 480)]
    );
    let rectangles = [
        Rectangle::new(1, 2, 3, 4),
        Rectangle::new(-9, 470, 20, 9999),
    ];
    let dirt = Dirt {
        video_output: 0,
        rectangles: &rectangles,
    };
    assert!(bench.say(&GuestMessage::Dirt(dirt)).is_empty());
    let damage = bench.handle.damage_since(start.damage_sequence);
    assert_eq!(
        damage.rectangles,
        [Area::new(1, 2, 3, 4), Area::new(0, 470, 20, 480)]
    );
    assert!(
        bench
            .handle
            .damage_since(damage.sequence)
            .rectangles
            .is_empty()
    );
    // The same mode again: the picture is the same, its contents may not be.
    assert!(bench.set(VGA));
    let state = bench.handle.state();
    assert_eq!(state.picture_sequence, start.picture_sequence);
    assert_eq!(
        bench.handle.damage_since(damage.sequence).rectangles,
        [Area::sized(640, 480)]
    );
    let waited = bench
        .handle
        .wait_for_change(&start, std::time::Duration::from_secs(60));
    assert_eq!(waited, state);
}

// VH11
#[test]
fn the_guest_is_told_when_somebody_looks() {
    let features = |answers: &[Vec<u8>]| match answers.last().map(|last| HostMessage::parse(last)) {
        Some(Ok(HostMessage::FeatureChange {
            features,
            edid: None,
        })) => features,
        other => panic!("{other:?}"),
    };
    let mut bench = Bench::new(VideoOptions::default());
    bench.handle.attach();
    assert!(bench.guest.answers().is_empty(), "nothing before a mode");
    assert!(bench.negotiate(Version::new(3, 5)));
    assert!(bench.place(Some(PLACE)));
    let answers = bench.say(&GuestMessage::SituationUpdate(VGA));
    assert_eq!(answers[0].len(), 16, "the acknowledgement first");
    assert_eq!(features(&answers), Features::all());
    assert_eq!(bench.say(&GuestMessage::SituationUpdate(VGA)).len(), 1);
    assert!(!bench.handle.state().reports_damage);
    bench.say(&GuestMessage::Dirt(Dirt {
        video_output: 0,
        rectangles: &[Rectangle::EVERYTHING],
    }));
    assert!(bench.handle.state().reports_damage);
    bench.guest.take_wakes();
    bench.handle.detach();
    assert!(bench.guest.take_wakes() > 0);
    assert_eq!(features(&bench.guest.answers()), Features::empty());
    assert!(!bench.handle.state().reports_damage);
    bench.handle.attach();
    assert_eq!(features(&bench.guest.answers()), Features::all());
    assert_eq!(bench.handle.status().viewers, 1);
    // What it has drawn before it reports again, nobody has been told of.
    assert!(!bench.handle.state().reports_damage);
    let before = bench.handle.state().damage_sequence;
    bench.say(&GuestMessage::Dirt(Dirt {
        video_output: 0,
        rectangles: &[Rectangle {
            left: 1.into(),
            top: 1.into(),
            right: 2.into(),
            bottom: 2.into(),
        }],
    }));
    assert!(bench.handle.state().reports_damage);
    let damage = bench.handle.damage_since(before);
    assert!(damage.rectangles.contains(&Area::sized(640, 480)));
}

// VH8
#[test]
fn resolutions_are_told_from_3_5_on() {
    let mut bench = Bench::new(VideoOptions::default());
    let ask = GuestMessage::SupportedResolutionsRequest;
    assert!(bench.negotiate(Version::new(3, 4)));
    assert!(bench.say(&ask(64)).is_empty());
    assert!(bench.negotiate(Version::new(3, 5)));
    let list = ResolutionList::new(vec![(800, 600), (1280, 720), (1920, 1080)], 1).unwrap();
    bench.handle.set_resolutions(list).unwrap();
    for (most, count) in [(64, 3), (255, 3), (2, 2), (1, 1)] {
        let answers = bench.say(&ask(most));
        assert_eq!(answers[0].len(), 139 + 4 * count);
        let Ok(HostMessage::SupportedResolutionsResponse(told)) = HostMessage::parse(&answers[0])
        else {
            panic!("{answers:?}");
        };
        assert_eq!(told.edid, &edid(1280, 720));
        assert_eq!(told.list.len(), count);
        let preferred = told.list[usize::from(told.default_index)];
        assert_eq!(preferred.width.get(), 1280);
    }
    assert_eq!(bench.say(&ask(0))[0].len(), 139);
    let large = ResolutionList::new(vec![(1920, 1200)], 0).unwrap();
    assert!(matches!(
        bench.handle.set_resolutions(large),
        Err(OptionsError::TooLarge { .. })
    ));
    assert_eq!(
        bench.say(&ask(64))[0].len(),
        139 + 12,
        "nothing has changed"
    );
}

#[test]
fn firmware_and_capabilities_are_told_from_their_versions_on() {
    let mut bench = Bench::new(VideoOptions::default());
    for version in ProtocolVersion::ALL.into_iter().skip(1) {
        assert!(bench.negotiate(version.wire()));
        let bios = bench.say(&GuestMessage::BiosInfoRequest);
        if version >= ProtocolVersion::V3_3 {
            assert_eq!(bios[0].len(), 24);
            let expected = HostMessage::BiosInfoResponse { flags: 1 };
            assert_eq!(HostMessage::parse(&bios[0]), Ok(expected));
        } else {
            assert!(bios.is_empty());
        }
        let capabilities = bench.say(&GuestMessage::CapabilityRequest);
        if version == ProtocolVersion::V3_5 {
            assert_eq!(capabilities[0].len(), 72);
            assert_eq!(capabilities[0][8..], [0; 64]);
        } else {
            assert!(capabilities.is_empty());
        }
    }
}

#[test]
fn pointers_are_shown() {
    let mut bench = Bench::shown(VideoOptions::default(), ProtocolVersion::V3_5, VGA);
    assert!(bench.handle.pointer().is_none());
    let position = PointerPosition {
        is_visible: true,
        video_output: 0,
        x: -4,
        y: 77,
    };
    bench.say(&GuestMessage::PointerPosition(position));
    let state = bench.handle.pointer_state();
    assert_eq!((state.is_visible, state.x, state.y), (true, -4, 77));
    let data: Vec<u8> = (0..96 * 96)
        .flat_map(|at: u32| (at | 0xFF00_0000).to_le_bytes())
        .collect();
    let chunk = |chunk, data| {
        GuestMessage::PointerShape(PointerShape {
            chunk,
            format: PointerFormat::ARGB,
            width: 96,
            height: 96,
            hot_x: 5,
            hot_y: 95,
            data,
        })
    };
    let before = bench.handle.state().pointer_sequence;
    for (number, piece) in data.chunks(8192).enumerate() {
        let number = if number == 4 { 0xFF } else { number as u8 };
        bench.say(&chunk(number, piece));
    }
    let shape = bench.handle.pointer().unwrap();
    assert_eq!((shape.width, shape.hot_x, shape.hot_y), (96, 5, 95));
    assert_eq!(shape.pixels[4321], 4321 | 0xFF00_0000);
    assert_eq!(bench.handle.state().pointer_sequence, before + 1);
}

#[test]
fn requested_completions_are_sent() {
    let mut bench = Bench::new(VideoOptions::default());
    let message = emitted(&GuestMessage::VersionRequest(Version::new(3, 5)));
    let mut payload = pipe::emit(message.len()).unwrap().to_vec();
    payload.extend(&message);
    assert!(bench.guest.put(OutgoingKind::InBand, &payload, Some(9)));
    bench.guest.work();
    let sent = bench.guest.read();
    assert_eq!(sent.len(), 2);
    assert!(sent.contains(&Sent::Completion(9)));
}

#[test]
fn images_may_be_taken_while_the_guest_draws_and_changes_modes() {
    let mut bench = Bench::shown(VideoOptions::default(), ProtocolVersion::V3_5, VGA);
    let handle = bench.handle.clone();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let looker = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut images: Vec<RgbImage> = Vec::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) || images.is_empty() {
                if let Ok(image) = handle.snapshot() {
                    images.truncate(3);
                    images.push(image);
                }
            }
            images
        }
    });
    for round in 0..60u32 {
        let width = 640 + 16 * (round % 9);
        let situation = Situation {
            width,
            pitch: width * 4,
            ..VGA
        };
        assert!(bench.set(situation));
        let place = PLACE + u64::from(round % 2) * 16 * MIB;
        assert!(bench.place(Some(place)));
        assert!(bench.mapper.guest_write(place + 4096, &[round as u8; 4096]));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(
        looker
            .join()
            .unwrap()
            .iter()
            .all(|image| image.height() == 480)
    );
}
