//! The screen against a guest that means it no good.

mod display_support;

use std::sync::Arc;

use display_support::video::{Bench, PLACE, VGA, emitted, location};
use display_support::{MIB, RAM, WINDOW};
use host_sim::display::rectangle::Rectangle as Area;
use host_sim::display::screen::Screen;
use host_sim::partition::device_memory::MapEvent;
use host_sim::vmbus::vsp::NextPoll;
use host_sim::vsp::video::{ProtocolVersion, SnapshotError, VideoOptions};
use vmbus_core::packet::OutgoingKind;
use vmbus_core::pipe;
use vsc_video::wire::{Dirt, GuestMessage, PointerFormat, PointerShape, Rectangle, Situation};

// VH2
#[test]
fn fault_71_places_that_are_nonsense_map_nothing() {
    let mut bench = Bench::shown(VideoOptions::default(), ProtocolVersion::V3_5, VGA);
    bench.mapper.take_events();
    for address in [
        PLACE + 1,
        PLACE + 4095,
        PLACE - 4096,
        WINDOW.end - 4 * MIB,
        0x1_0000_0000,
        u64::MAX,
        u64::MAX - 4095,
        RAM - 4096,
        3,
    ] {
        assert!(!bench.place(Some(address)), "{address:#x}");
        assert_eq!(bench.handle.snapshot(), Err(SnapshotError::NoPicture));
    }
    let mapped = |event: &MapEvent| matches!(event, MapEvent::Map { .. });
    assert!(!bench.mapper.take_events().iter().any(mapped));
    assert_eq!(bench.handle.status().counters.refused_locations, 9);
    // A hypervisor that refuses is no different.
    bench.mapper.set_failing(true);
    assert!(!bench.place(Some(PLACE)));
    bench.mapper.set_failing(false);
    assert!(bench.place(Some(PLACE)));
    assert!(bench.handle.snapshot().is_ok());
}

// VH4, VH5
#[test]
fn fault_71_modes_that_are_nonsense_leave_the_one_before() {
    let mut bench = Bench::shown(VideoOptions::default(), ProtocolVersion::V3_5, VGA);
    for (user_context, situation) in [
        Situation { pitch: 2559, ..VGA },
        Situation {
            pitch: u32::MAX,
            ..VGA
        },
        Situation {
            width: 0,
            height: 0,
            ..VGA
        },
        Situation {
            depth_bits: 16,
            ..VGA
        },
        Situation {
            vram_offset: 4096,
            ..VGA
        },
        Situation {
            video_output_count: 0,
            ..VGA
        },
        Situation {
            width: 1920,
            height: 1200,
            pitch: 7680,
            ..VGA
        },
        Situation {
            width: u32::MAX,
            height: u32::MAX,
            pitch: u32::MAX,
            ..VGA
        },
    ]
    .into_iter()
    .enumerate()
    {
        bench.set(Situation {
            user_context: user_context as u64 | 1 << 63,
            ..situation
        });
        let refused = bench.handle.status().counters.refused_modes;
        assert_eq!(refused, user_context as u64 + 1);
        let mode = bench.handle.mode().unwrap();
        assert_eq!((mode.width, mode.height, mode.pitch), (640, 480, 2560));
    }
    assert!(bench.set(Situation {
        width: 1920,
        height: 1080,
        pitch: 7680,
        ..VGA
    }));
}

fn dirt(rectangles: &[Rectangle]) -> GuestMessage<'_> {
    GuestMessage::Dirt(Dirt {
        video_output: 7,
        rectangles,
    })
}

// VH6
#[test]
fn fault_72_dirt_outside_the_screen_is_cut_and_lies_repaint() {
    let mut bench = Bench::shown(VideoOptions::default(), ProtocolVersion::V3_5, VGA);
    let seen = bench.handle.state().damage_sequence;
    let nonsense = [
        Rectangle::new(10, 10, 5, 5),
        Rectangle::new(i32::MAX, i32::MAX, i32::MIN, i32::MIN),
        Rectangle::new(i32::MIN, i32::MIN, -1, -1),
        Rectangle::new(640, 480, i32::MAX, i32::MAX),
    ];
    bench.say(&dirt(&nonsense));
    assert!(bench.handle.damage_since(seen).rectangles.is_empty());
    assert_eq!(bench.handle.status().counters.refused_rectangles, 2);
    bench.say(&dirt(&[]));
    assert_eq!(bench.handle.state().damage_sequence, seen);
    // It counts 255 and holds three.
    let mut lie = emitted(&dirt(&[Rectangle::new(0, 0, 1, 1); 3]));
    lie[9] = 255;
    bench.guest.send(&lie);
    assert!(bench.guest.answers().is_empty());
    assert_eq!(
        bench.handle.damage_since(seen).rectangles,
        [Area::sized(640, 480)]
    );
    bench.say(&dirt(&[Rectangle::EVERYTHING; 255]));
    assert_eq!(
        bench.handle.damage_since(seen).rectangles,
        [Area::sized(640, 480)]
    );
}

// VH7
#[test]
fn fault_73_pointers_that_are_nonsense_leave_the_one_before() {
    let mut bench = Bench::shown(VideoOptions::default(), ProtocolVersion::V3_5, VGA);
    let shape = PointerShape {
        chunk: 0xFF,
        format: PointerFormat::ARGB,
        width: 1,
        height: 1,
        hot_x: 0,
        hot_y: 0,
        data: &[0, 1, 1, 1],
    };
    bench.say(&GuestMessage::PointerShape(shape));
    let before = bench.handle.pointer().unwrap();
    assert!(before.is_blank());
    let zeros = [0; 8193];
    for nonsense in [
        PointerShape { width: 97, ..shape },
        PointerShape {
            height: u32::MAX,
            width: u32::MAX,
            ..shape
        },
        PointerShape { width: 0, ..shape },
        PointerShape { hot_x: 1, ..shape },
        PointerShape {
            format: PointerFormat(9),
            ..shape
        },
        PointerShape { chunk: 3, ..shape },
        PointerShape { data: &[], ..shape },
        PointerShape {
            data: &[0; 5],
            ..shape
        },
        PointerShape {
            width: 96,
            height: 96,
            data: &zeros,
            ..shape
        },
    ] {
        assert!(bench.say(&GuestMessage::PointerShape(nonsense)).is_empty());
        assert!(Arc::ptr_eq(&bench.handle.pointer().unwrap(), &before));
    }
    assert_eq!(bench.handle.status().counters.refused_pointers, 9);
}

#[test]
fn fault_70_bad_messages_are_dropped_and_counted() {
    let mut bench = Bench::new(VideoOptions::default());
    // Out of turn.
    for message in [
        location(Some(PLACE)),
        GuestMessage::SituationUpdate(VGA),
        GuestMessage::BiosInfoRequest,
    ] {
        assert!(bench.say(&message).is_empty());
    }
    bench.start(ProtocolVersion::V3_5, VGA);
    for message in [
        &[][..],
        &[99, 0, 0, 0, 8, 0, 0, 0],
        &[5, 0, 0, 0, 0, 0, 0, 0, 1],
        &[0xFF; 9000],
    ] {
        bench.guest.send(message);
        assert!(bench.guest.answers().is_empty());
    }
    for payload in [&[][..], &[3; 8], &[1, 0, 0, 0, 9, 0, 0, 0]] {
        bench.guest.send_raw(payload);
        assert!(bench.guest.answers().is_empty());
    }
    assert_eq!(bench.handle.status().counters.bad_messages, 10);
    assert!(bench.say(&GuestMessage::Error).is_empty());
    assert!(bench.handle.snapshot().is_ok());
}

#[test]
fn a_guest_that_does_not_read_is_not_read_from() {
    let mut bench = Bench::shown(VideoOptions::default(), ProtocolVersion::V3_5, VGA);
    let mut payload = pipe::emit(9).unwrap().to_vec();
    payload.extend(emitted(&GuestMessage::SupportedResolutionsRequest(64)));
    let mut accepted = 0;
    for _ in 0..100_000 {
        if !bench.guest.put(OutgoingKind::InBand, &payload, None) {
            break;
        }
        accepted += 1;
        assert_eq!(bench.guest.work(), NextPoll::OnSignal);
    }
    assert!(accepted < 100_000, "the ring to the host has filled");
    let mut answers = 0;
    while answers < accepted {
        let more = bench.guest.answers().len();
        assert!(more > 0);
        answers += more;
    }
    assert_eq!(answers, accepted);
    assert!(bench.guest.answers().is_empty());
}
