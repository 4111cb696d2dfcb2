//! The fronts on a machine of the test: one virtual processor, a host that answers as it is told.

mod channels;
mod connecting;
mod faults;
mod host;
mod machine;

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::future::Future;

use machine::{Cpu, Machine};

use super::*;
use crate::executor::block_on;
use crate::protocol::ChannelId;

type TestBus = Bus<Machine, Cpu>;
type TestChannel = Channel<Machine, Cpu>;

fn bus_with(machine: &Arc<Machine>, options: BusOptions) -> TestBus {
    Bus::new(machine.clone(), machine.processor(0), options).unwrap()
}

/// Runs a future as a guest with one processor would.
fn run<T>(bus: &TestBus, future: impl Future<Output = T>) -> T {
    let machine = bus.shared.runtime.clone();
    block_on(&*machine, future, || bus.dispatch(0))
}

/// A connected bus whose host has this newest version.
fn connected(machine: &Arc<Machine>, version: ProtocolVersion) -> TestBus {
    machine.host().newest = version;
    let bus = bus_with(machine, BusOptions::default());
    let agreement = run(&bus, bus.reconnect()).unwrap();
    assert_eq!(agreement.version, version);
    bus
}

/// A connected bus and its first channel, open.
fn open_first(machine: &Arc<Machine>, version: ProtocolVersion) -> (TestBus, TestChannel) {
    let bus = connected(machine, version);
    let offers = run(&bus, bus.enumerate()).unwrap();
    let channel = run(&bus, bus.open(&offers[0], OpenOptions::default())).unwrap();
    (bus, channel)
}

/// Lets what is under way come to its end.
fn settle(bus: &TestBus) {
    for _ in 0..20 {
        bus.shared.runtime.idle();
        bus.dispatch(0);
    }
}

/// Pages that a bus has as long as it lives.
const BUS_PAGES: usize = 4;
/// Pages of the rings of a channel with the default options.
const RING_PAGES: usize = 10;
