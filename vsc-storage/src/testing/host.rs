//! A host that serves a controller with test disks over rings on the heap.

use core::future::Future;
use core::task::Waker;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

use vmbus_core::ring::testing::HeapRing;
use vmbus_core::ring::{IncomingRing, OutgoingRing, Signal};

use super::target::{Reply, Target};
use super::{HostEnd, Link, Sent};
use crate::front::Transport;
use crate::wire::{ChannelProperties, NtStatus, Operation, Packet, Version};

/// How the host behaves.
pub(crate) struct Behaviour {
    pub(crate) newest: Version,
    pub(crate) properties: ChannelProperties,
    /// Commands are kept instead of executed.
    pub(crate) hold: bool,
    /// Initialisation messages are not answered.
    pub(crate) mute: bool,
    /// Executes held commands in the reverse order of their coming.
    pub(crate) reverse: bool,
    /// Guest packets taken at once.
    pub(crate) appetite: usize,
    /// Closes are acknowledged.
    pub(crate) acknowledges: bool,
}

struct Channel {
    end: HostEnd,
    wakers: Vec<Waker>,
    rescinded: bool,
    open: bool,
    held: Vec<Sent>,
}

/// What both ends of the test share.
pub(crate) struct Inner {
    channels: Vec<Channel>,
    pub(crate) target: Target,
    pub(crate) behaviour: Behaviour,
    /// Signals from the guest.
    pub(crate) signals: usize,
    /// Most commands held at a time.
    pub(crate) most_held: usize,
    /// Commands executed on each channel.
    pub(crate) executed: Vec<usize>,
    /// Other messages received on each channel.
    pub(crate) messages: Vec<Vec<Operation>>,
}

/// The host.
#[derive(Clone)]
pub(crate) struct TestHost(Arc<Mutex<Inner>>);

/// The guest's end of one channel.
pub(crate) struct TestTransport {
    index: usize,
    outgoing: OutgoingRing<HeapRing>,
    incoming: IncomingRing<HeapRing>,
    host: TestHost,
}

impl TestHost {
    pub(crate) fn new(target: Target) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            channels: Vec::new(),
            target,
            behaviour: Behaviour {
                newest: Version::Win10,
                properties: ChannelProperties {
                    max_sub_channels: 4.into(),
                    flags: 1.into(),
                    max_transfer_bytes: 0x4_0000.into(),
                    ..ChannelProperties::default()
                },
                hold: false,
                mute: false,
                reverse: false,
                appetite: usize::MAX,
                acknowledges: true,
            },
            signals: 0,
            most_held: 0,
            executed: Vec::new(),
            messages: Vec::new(),
        })))
    }

    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Inner) -> R) -> R {
        work(&mut self.0.lock().unwrap())
    }

    /// A new channel with rings of `size` data bytes.
    pub(crate) fn open(&self, size: u32) -> TestTransport {
        let link = Link::new(size);
        self.with(|inner| {
            inner.channels.push(Channel {
                end: link.host,
                wakers: Vec::new(),
                rescinded: false,
                open: true,
                held: Vec::new(),
            });
            inner.executed.push(0);
            inner.messages.push(Vec::new());
            TestTransport {
                index: inner.channels.len() - 1,
                outgoing: link.outgoing,
                incoming: link.incoming,
                host: self.clone(),
            }
        })
    }

    /// Does what there is to do; whether there was anything.
    pub(crate) fn work(&self) -> bool {
        let (wakers, worked) = self.with(|inner| {
            let mut wakers = Vec::new();
            let mut worked = false;
            for index in 0..inner.channels.len() {
                if inner.serve(index) {
                    worked = true;
                    wakers.append(&mut inner.channels[index].wakers);
                }
            }
            (wakers, worked)
        });
        wakers.into_iter().for_each(Waker::wake);
        worked
    }

    /// Withdraws a channel.
    pub(crate) fn rescind(&self, index: usize) {
        let wakers = self.with(|inner| {
            let channel = &mut inner.channels[index];
            channel.rescinded = true;
            core::mem::take(&mut channel.wakers)
        });
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Sends something into a channel, and an interrupt.
    pub(crate) fn send(&self, index: usize, send: impl FnOnce(&mut HostEnd)) {
        let wakers = self.with(|inner| {
            let channel = &mut inner.channels[index];
            send(&mut channel.end);
            core::mem::take(&mut channel.wakers)
        });
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Announces changed devices.
    pub(crate) fn announce(&self) {
        self.send(0, |end| end.announce(Operation::ENUMERATE_BUS));
    }

    /// Executes the commands held on all channels; they stay executed only once.
    pub(crate) fn release(&self) {
        self.with(|inner| inner.behaviour.hold = false);
        self.work();
    }
}

impl Inner {
    fn serve(&mut self, index: usize) -> bool {
        let appetite = self.behaviour.appetite;
        let channel = &mut self.channels[index];
        if channel.rescinded || !channel.open {
            return false;
        }
        let taken = channel.end.take_at_most(appetite);
        let mut worked = !taken.is_empty();
        for sent in taken {
            if sent.operation() == Operation::EXECUTE_SRB {
                self.channels[index].held.push(sent);
                continue;
            }
            self.messages[index].push(sent.operation());
            if !self.behaviour.mute {
                let reply = self.answer(&sent);
                self.channels[index].end.complete(sent.id, &reply);
            }
        }
        self.most_held = self.most_held.max(self.channels[index].held.len());
        if !self.behaviour.hold {
            let mut held = core::mem::take(&mut self.channels[index].held);
            worked |= !held.is_empty();
            if self.behaviour.reverse {
                held.reverse();
            }
            for sent in held {
                self.execute(index, &sent);
            }
        }
        worked
    }

    fn answer(&self, sent: &Sent) -> Packet {
        let request = sent.packet();
        let mut reply = request.completion(NtStatus::SUCCESS);
        match request.operation() {
            Operation::QUERY_PROTOCOL_VERSION => {
                let proposed = request.version().unwrap().version.get();
                if Version::try_from(proposed).is_ok_and(|version| version > self.behaviour.newest)
                {
                    reply.set_status(NtStatus::REVISION_MISMATCH);
                }
            }
            Operation::QUERY_PROPERTIES => reply.set_payload(&self.behaviour.properties),
            _ => {}
        }
        reply
    }

    fn execute(&mut self, index: usize, sent: &Sent) {
        self.executed[index] += 1;
        let srb = sent.srb();
        let buffer = Buffer::new(sent);
        assert_eq!(srb.data_transfer_length.get() as usize, buffer.length);
        let out = if srb.data_in == 0 {
            buffer.read()
        } else {
            Vec::new()
        };
        let reply = self.target.execute(srb.lun, &srb.command(), &out);
        let moved = complete_data(&buffer, &reply, out.len());
        self.channels[index].end.complete_srb(sent, |answer| {
            answer.srb_status = reply.srb;
            answer.scsi_status = reply.scsi;
            answer.data_transfer_length = reply.transferred.unwrap_or(moved).into();
            if let Some(sense) = reply.sense {
                answer.command_or_sense[..18].copy_from_slice(&sense.to_bytes());
                answer.sense_info_length = 20;
            }
        });
    }
}

fn complete_data(buffer: &Buffer, reply: &Reply, written: usize) -> u32 {
    assert!(reply.data.len() <= buffer.length || reply.data.is_empty());
    buffer.write(&reply.data);
    if reply.srb == 1 {
        (reply.data.len() + written) as u32
    } else {
        0
    }
}

/// The guest memory that a request names.
struct Buffer {
    pieces: Vec<(*mut u8, usize)>,
    length: usize,
}

impl Buffer {
    fn new(sent: &Sent) -> Self {
        let Some((count, offset, frames)) = &sent.range else {
            return Self {
                pieces: Vec::new(),
                length: 0,
            };
        };
        let pages = (count + offset).div_ceil(4096) as usize;
        assert_eq!(frames.len(), pages, "as many frames as pages");
        let mut rest = *count as usize;
        let mut at = *offset as usize;
        let mut pieces = Vec::new();
        for frame in frames {
            let length = rest.min(4096 - at);
            pieces.push(((*frame as usize * 4096 + at) as *mut u8, length));
            rest -= length;
            at = 0;
        }
        Self {
            pieces,
            length: *count as usize,
        }
    }

    fn read(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (address, length) in &self.pieces {
            // SAFETY: frames are those of live pages of the test's platform.
            bytes.extend_from_slice(unsafe { core::slice::from_raw_parts(*address, *length) });
        }
        bytes
    }

    fn write(&self, mut bytes: &[u8]) {
        for (address, length) in &self.pieces {
            let count = bytes.len().min(*length);
            // SAFETY: as above; the guest holds no reference to the memory.
            unsafe { address.copy_from_nonoverlapping(bytes.as_ptr(), count) };
            bytes = &bytes[count..];
        }
    }
}

impl Transport for TestTransport {
    type Memory = HeapRing;

    fn rings(&mut self) -> (&mut OutgoingRing<HeapRing>, &mut IncomingRing<HeapRing>) {
        (&mut self.outgoing, &mut self.incoming)
    }

    fn signal_host(&mut self, signal: Signal) {
        if signal.is_needed() {
            self.host.with(|inner| inner.signals += 1);
        }
    }

    fn is_rescinded(&self) -> bool {
        self.host.with(|inner| inner.channels[self.index].rescinded)
    }

    fn register(&self, waker: &Waker) {
        self.host.with(|inner| {
            let wakers = &mut inner.channels[self.index].wakers;
            if !wakers.iter().any(|other| other.will_wake(waker)) {
                wakers.push(waker.clone());
            }
        });
    }

    fn close(self) -> impl Future<Output = bool> + Send {
        let acknowledged = self.host.with(|inner| {
            inner.channels[self.index].open = false;
            inner.behaviour.acknowledges || inner.channels[self.index].rescinded
        });
        core::future::ready(acknowledged)
    }
}
