//! Guest memory that a device borrows.

use vmbus_core::protocol::GpadlTorndown;

use super::*;

/// Memory that a device uses stays lent until the device returns it, whatever the guest and its channel do.
#[test]
fn fault_41_a_teardown_waits_for_the_device() {
    let torn = |bench: &mut Bench| {
        let messages = bench.take();
        let count = |message: &&HostMessage| matches!(message, HostMessage::GpadlTorndown(torn) if torn.gpadl_id == GpadlId(200));
        messages.iter().filter(count).count()
    };
    let teardown = || GpadlTeardown {
        channel_id: ChannelId(1),
        gpadl_id: GpadlId(200),
    };
    for close_first in [false, true] {
        let mut bench = Bench::connected(ProtocolVersion::V5_3);
        bench.open(1);
        bench.gpadl(1, 200, 4);
        let lent = bench.server.lend_gpadl(ChannelId(1), GpadlId(200)).unwrap();
        let again = bench.server.lend_gpadl(ChannelId(1), GpadlId(200)).unwrap();
        assert!(
            bench
                .server
                .lend_gpadl(ChannelId(2), GpadlId(200))
                .is_none()
        );
        assert!(
            bench
                .server
                .lend_gpadl(ChannelId(1), GpadlId(201))
                .is_none()
        );
        if close_first {
            bench.post(CloseChannel {
                channel_id: ChannelId(1),
            });
        }
        for _ in 0..2 {
            bench.post(teardown());
            assert_eq!(torn(&mut bench), 0);
            assert!(
                bench
                    .server
                    .lend_gpadl(ChannelId(1), GpadlId(200))
                    .is_none()
            );
        }
        drop(lent);
        bench.server.gpadl_returned(GpadlId(200));
        bench.run();
        assert_eq!(torn(&mut bench), 0, "one use is left");
        drop(again);
        bench.server.gpadl_returned(GpadlId(200));
        bench.server.gpadl_returned(GpadlId(200));
        bench.run();
        assert_eq!(torn(&mut bench), 1);
        bench.post(teardown());
        assert_eq!(torn(&mut bench), 0, "it is gone");
    }
}

/// A guest that gives a channel's id back while it closes still gets its ring's memory back.
#[test]
fn a_teardown_is_answered_though_the_id_is_released() {
    let mut bench = Bench::connected(ProtocolVersion::V5_3);
    bench.open(1);
    bench.prompt = false;
    let ring = bench.server.channels[&ChannelId(1)].ring.unwrap();
    bench.post(CloseChannel {
        channel_id: ChannelId(1),
    });
    bench.post(GpadlTeardown {
        channel_id: ChannelId(1),
        gpadl_id: ring,
    });
    bench.post(RelIdReleased {
        channel_id: ChannelId(1),
    });
    let torn = |bench: &mut Bench| {
        let torn = GpadlTorndown { gpadl_id: ring };
        bench.take().contains(&HostMessage::GpadlTorndown(torn))
    };
    assert!(!torn(&mut bench), "the device still uses it");
    bench.server.closed(ChannelId(1));
    bench.run();
    assert!(torn(&mut bench));
    assert_eq!(bench.server.channel_phase(ChannelId(1)), None);
}
