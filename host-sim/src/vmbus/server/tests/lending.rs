//! Guest memory that a device borrows.

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
