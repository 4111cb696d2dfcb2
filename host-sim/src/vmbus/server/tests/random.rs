//! Any events in any order.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Message(u8, u32, u32),
    Bytes(Vec<u8>),
    Opened(u32, bool),
    Closed(u32),
    Remove(u32),
    Add,
    SubChannels(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..14u8, 0..6u32, 0..6u32).prop_map(|(kind, a, b)| Step::Message(kind, a, b)),
        1 => proptest::collection::vec(any::<u8>(), 0..64).prop_map(Step::Bytes),
        2 => (0..6u32, any::<bool>()).prop_map(|(id, good)| Step::Opened(id, good)),
        2 => (0..6u32).prop_map(Step::Closed),
        1 => (0..4u32).prop_map(Step::Remove),
        1 => Just(Step::Add),
        1 => (0..4u16).prop_map(Step::SubChannels),
    ]
}

proptest! {
    /// Whatever guest and devices do in whatever order: no panic, and the end is clean.
    #[test]
    fn any_order_of_events_ends_clean(steps in proptest::collection::vec(step(), 0..120)) {
        let mut bench = Bench::connected(ProtocolVersion::V6_0);
        bench.prompt = false;
        for step in steps {
            match step {
                Step::Message(kind, a, b) => {
                    let channel_id = ChannelId(a);
                    match kind {
                        0 => { bench.contact_quietly(); }
                        1 => bench.post(RequestOffers {}),
                        2 | 3 => bench.post(open(a, 100 + b)),
                        4 => bench.post(CloseChannel { channel_id }),
                        5 | 6 => {
                            let mut data = u64::from(8 * 4096u32).to_le_bytes().to_vec();
                            data.extend((0..8u64).flat_map(u64::to_le_bytes));
                            let header = GpadlHeader { channel_id, gpadl_id: GpadlId(100 + b), range_bytes: 72,
                                range_count: 1, data: &data };
                            bench.post(header);
                        }
                        7 => bench.post(GpadlTeardown { channel_id, gpadl_id: GpadlId(100 + b) }),
                        8 => bench.post(RelIdReleased { channel_id }),
                        9 => bench.post(Unload {}),
                        10 => bench.post(ModifyChannel { channel_id, target_vp: b }),
                        11 => bench.post(Pause {}),
                        _ => bench.post(Resume {}),
                    }
                }
                Step::Bytes(bytes) => { bench.server.handle_message(4, &bytes); bench.run(); }
                Step::Opened(id, good) => { bench.server.opened(ChannelId(id), good); bench.run(); }
                Step::Closed(id) => { bench.server.closed(ChannelId(id)); bench.run(); }
                Step::Remove(device) => { bench.server.remove_device(DeviceId(device)); bench.run(); }
                Step::Add => {
                    bench.server.add_device(OfferDescription::new(class::SCSI, Guid::ZERO));
                    bench.run();
                }
                Step::SubChannels(count) => {
                    bench.server.request_sub_channels(DeviceId(0), count);
                    bench.run();
                }
            }
        }
        // Devices come to their ends; then a reset leaves nothing behind.
        bench.prompt = true;
        for _ in 0..2 {
            for id in 0..MAX_CHANNELS {
                bench.server.opened(ChannelId(id), true);
                bench.server.closed(ChannelId(id));
            }
            bench.run();
        }
        prop_assert!(!bench.server.connection.is_disconnecting(), "nothing is left to wait for");
        bench.server.reset();
        bench.run();
        let end = bench.server.snapshot();
        prop_assert_eq!(end.channels, []);
        prop_assert_eq!((end.gpadls, end.gpadl_pages, end.version), (0, 0, None));
    }
}
