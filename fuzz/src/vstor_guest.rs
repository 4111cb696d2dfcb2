//! The guest's storage initialisation, request queue and scan against any packets from the host.

use std::collections::BTreeSet;

use vmbus_core::packet::{Descriptor, GpaRange, IncomingKind, IncomingPacket};
use vmbus_core::ring::OutgoingRing;
use vmbus_core::ring::testing::{ControlField, HeapRing};
use vsc_storage::disk::{RetryLimits, Scan, ScanProgress};
use vsc_storage::init::{InitOptions, Initialisation, LARGEST_TRANSFER, Progress};
use vsc_storage::queue::{
    Address, CommandError, Completion, Data, Outcome, Received, Request, RequestQueue, Reset,
};
use vsc_storage::scsi::{Command, Transfer, TransferForm};
use vsc_storage::wire::{
    ChannelProperties, NtStatus, Operation, Packet, PacketFlags, PropertyFlags, Srb, Version,
};

use crate::input::Input;

/// What the first byte chooses.
pub(crate) mod part {
    pub(crate) const INITIALISATION: u8 = 0;
    pub(crate) const QUEUE: u8 = 1;
    pub(crate) const SCAN: u8 = 2;
    pub(crate) const COUNT: u8 = 3;
}

/// Steps of the initialisation.
pub(crate) mod init_op {
    pub(crate) const RAW: u8 = 0;
    pub(crate) const ANSWER: u8 = 1;
    pub(crate) const TIME_OUT: u8 = 2;
    pub(crate) const COUNT: u8 = 3;
}

/// Steps of the queue.
pub(crate) mod queue_op {
    pub(crate) const SUBMIT: u8 = 0;
    pub(crate) const COMPLETE: u8 = 1;
    pub(crate) const RAW: u8 = 2;
    pub(crate) const EVENT: u8 = 3;
    pub(crate) const RESET: u8 = 4;
    pub(crate) const CONSUME: u8 = 5;
    pub(crate) const CLOSE: u8 = 6;
    pub(crate) const COUNT: u8 = 7;
}

/// Requests in flight at a time.
const CAPACITY: usize = 8;
/// Most bytes of a request.
const MAX_TRANSFER: u32 = 0x1_0000;
/// Messages of one initialisation: one of each kind, and all versions.
const MOST_MESSAGES: usize = 12;
/// Commands of one scan of which the input has ended: at least one unit less with each.
const MOST_COMMANDS: usize = 300;

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.u8() % part::COUNT {
        part::INITIALISATION => initialise(&mut input),
        part::QUEUE => Guest::new(&mut input).run(&mut input),
        _ => scan(&mut input),
    }
}

/// A packet of any type; `None` if the ring would not have let it pass.
fn raw_packet<'b>(
    packet_type: u8,
    transaction_id: u64,
    body: &'b [u8],
) -> Option<IncomingPacket<'b>> {
    let (word, offset) = match packet_type % 4 {
        0 => (0xB, 2),
        1 => (6, 2),
        // One range of one page.
        2 => (9, 5),
        _ => (7, 3),
    };
    let body = &body[..body.len() / 8 * 8];
    let length = 2 + body.len() as u64 / 8;
    let descriptor = Descriptor::parse(word | offset << 16 | length << 32).ok()?;
    IncomingPacket::parse(descriptor, transaction_id, body).ok()
}

fn initialise(input: &mut Input<'_>) {
    let versions = Version::ALL_NEWEST_FIRST;
    let mut init = Initialisation::new(InitOptions {
        newest: input.choose(&versions),
        oldest: input.choose(&versions),
        sub_channels: u16::from(input.u8()),
        fibre_channel: input.flag(),
    });
    let mut messages = 1;
    let mut failed = None;
    while let Some(step) = input.step() {
        let (id, request) = init.request();
        let request = *request;
        let result = match step % init_op::COUNT {
            init_op::RAW => {
                let id = if input.flag() { id } else { input.u64() };
                let packet_type = input.u8();
                let Some(packet) = raw_packet(packet_type, id, input.bytes()) else {
                    continue;
                };
                init.receive(&packet)
            }
            init_op::ANSWER => {
                let answer = answer(&request, input);
                init.receive(&IncomingPacket {
                    transaction_id: id,
                    completion_requested: false,
                    kind: IncomingKind::Completion,
                    payload: answer.as_bytes(),
                })
            }
            _ => init.time_out(),
        };
        match result {
            Ok(Progress::Send) => messages += 1,
            Ok(Progress::Ignored) => {}
            Ok(Progress::Ready(negotiated)) => {
                assert!(init.step().is_none() && failed.is_none());
                let most = negotiated.max_transfer_bytes;
                assert!((4096..=LARGEST_TRANSFER).contains(&most) && most.is_multiple_of(4096));
                assert!(negotiated.sub_channels <= negotiated.offered_sub_channels);
            }
            Err(error) => {
                assert!(failed.is_none_or(|before| before == error));
                assert!(init.step().is_none() && !error.to_string().is_empty());
                failed = Some(error);
            }
        }
        assert!(messages <= MOST_MESSAGES);
    }
}

/// An answer of the right length with a status and a payload from the input.
fn answer(request: &Packet, input: &mut Input<'_>) -> Packet {
    let status = match input.u8() {
        0..=200 => NtStatus::SUCCESS,
        201..=230 => NtStatus::REVISION_MISMATCH,
        other => NtStatus(u32::from(other)),
    };
    let mut answer = request.completion(status);
    if input.flag() {
        answer.set_payload(&ChannelProperties {
            max_sub_channels: u16::from(input.u8()).into(),
            flags: PropertyFlags::MULTI_CHANNEL.bits().into(),
            max_transfer_bytes: input.u32().into(),
            ..ChannelProperties::default()
        });
    } else {
        let mut payload = [0; 52];
        for (to, from) in payload.iter_mut().zip(input.bytes()) {
            *to = *from;
        }
        answer.set_payload(&payload);
    }
    answer
}

/// The owner of a queue, which gives every request a number and wants each one back once.
struct Guest {
    queue: RequestQueue<u32>,
    memory: HeapRing,
    ring: OutgoingRing<HeapRing>,
    ids: Vec<u64>,
    outstanding: BTreeSet<u32>,
    next: u32,
}

impl Guest {
    fn new(input: &mut Input<'_>) -> Self {
        let version = input.choose(&Version::ALL_NEWEST_FIRST);
        let memory = HeapRing::new(4096);
        Self {
            queue: RequestQueue::new(CAPACITY, version, MAX_TRANSFER).expect("a little memory"),
            ring: OutgoingRing::initialise(memory.clone()),
            memory,
            ids: Vec::new(),
            outstanding: BTreeSet::new(),
            next: 0,
        }
    }

    fn run(&mut self, input: &mut Input<'_>) {
        while let Some(step) = input.step() {
            match step % queue_op::COUNT {
                queue_op::SUBMIT => self.submit(input),
                queue_op::COMPLETE => self.complete(input),
                queue_op::RAW => {
                    let packet_type = input.u8();
                    let id = if input.flag() {
                        self.id(input)
                    } else {
                        input.u64()
                    };
                    if let Some(packet) = raw_packet(packet_type, id, input.bytes()) {
                        let received = self.queue.receive(&packet);
                        self.take(received);
                    }
                }
                queue_op::EVENT => {
                    let operation = Operation(u32::from(input.u8() % 16));
                    let event = Packet::new(
                        operation,
                        PacketFlags::empty(),
                        NtStatus::SUCCESS,
                        input.below(53),
                    );
                    let received = self.queue.receive(&IncomingPacket {
                        transaction_id: 0,
                        completion_requested: false,
                        kind: IncomingKind::InBand,
                        payload: event.as_bytes(),
                    });
                    self.take(received);
                }
                queue_op::RESET => self.reset(input),
                queue_op::CONSUME => {
                    let forged = match input.u8() {
                        0xFF => input.u32(),
                        _ => self.memory.load(ControlField::WriteIndex),
                    };
                    self.memory.store(ControlField::ReadIndex, forged);
                }
                _ => self.close(input),
            }
            assert_eq!(self.queue.outstanding(), self.outstanding.len());
            assert!(self.outstanding.len() <= CAPACITY);
        }
        self.queue.close();
        while let Some(context) = self.queue.cancel_next() {
            assert!(self.outstanding.remove(&context));
        }
        assert!(self.outstanding.is_empty(), "requests are lost");
    }

    fn submit(&mut self, input: &mut Input<'_>) {
        let blocks = u32::from(input.u8());
        let length = blocks * 512;
        let offset = u32::from(input.u8());
        let pages = u64::from(offset + length).div_ceil(4096);
        let frames: Vec<_> = (0..pages).collect();
        let range = GpaRange {
            byte_count: length,
            byte_offset: offset,
            page_frames: &frames,
        };
        let transfer = Transfer {
            form: TransferForm::Ten,
            lba: u64::from(input.u8()),
            blocks,
            flags: 0,
        };
        let (command, data) = match (blocks, input.u8() % 2) {
            (0, _) => (Command::TestUnitReady, Data::None),
            (_, 0) => (Command::Read(transfer), Data::In(range)),
            _ => (Command::Write(transfer), Data::Out(range)),
        };
        let command = command.encode().expect("everything fits");
        let request = Request::new(Address::default(), command, data);
        match self.queue.send(&mut self.ring, &request, self.next) {
            Ok((id, _)) => self.submitted(id),
            Err(error) => assert_eq!(error.context, self.next),
        }
    }

    fn reset(&mut self, input: &mut Input<'_>) {
        let reset = input.choose(&[
            Reset::Adapter,
            Reset::Bus(Address::default()),
            Reset::LogicalUnit(Address::default()),
        ]);
        let Ok(mut batch) = self.ring.batch() else {
            return;
        };
        match self.queue.submit_reset(&mut batch, reset, self.next) {
            // Sometimes the guest thinks better of it.
            Ok(id) if input.u8() == 1 => {
                assert_eq!(self.queue.withdraw(id), Some(self.next));
            }
            Ok(id) => {
                let _ = batch.commit();
                self.submitted(id);
            }
            Err(error) => assert_eq!(error.context, self.next),
        }
    }

    fn submitted(&mut self, id: u64) {
        assert!(id != 0 && !self.ids.contains(&id), "an id is used once");
        self.ids.push(id);
        self.outstanding.insert(self.next);
        self.next += 1;
    }

    /// An id that was given out, in flight or not.
    fn id(&self, input: &mut Input<'_>) -> u64 {
        let index = usize::from(input.u8());
        let known = self.ids.len().checked_sub(1 + index);
        known.map_or(u64::from(index as u8), |index| self.ids[index])
    }

    fn complete(&mut self, input: &mut Input<'_>) {
        let id = self.id(input);
        let mut srb = Srb {
            srb_status: input.u8(),
            scsi_status: input.u8(),
            sense_info_length: input.u8(),
            data_transfer_length: input.u32().into(),
            ..Srb::ZERO
        };
        for (to, from) in srb.command_or_sense.iter_mut().zip(input.bytes()) {
            *to = *from;
        }
        let mut packet = Packet::new(
            Operation::COMPLETE_IO,
            PacketFlags::empty(),
            NtStatus::SUCCESS,
            self.queue.version().srb_size(),
        );
        packet.set_payload(&srb);
        let received = self.queue.receive(&IncomingPacket {
            transaction_id: id,
            completion_requested: false,
            kind: IncomingKind::Completion,
            payload: packet.as_bytes(),
        });
        self.take(received);
    }

    fn take(&mut self, received: Received<u32>) {
        match received {
            Received::Completed(Completion {
                context, outcome, ..
            }) => {
                assert!(self.outstanding.remove(&context), "completed twice");
                assert!(outcome.transferred <= outcome.requested);
                assert_eq!(outcome.residue(), outcome.requested - outcome.transferred);
                if let Err(error) = outcome.result {
                    assert!(!error.to_string().is_empty());
                }
            }
            Received::ResetDone { context, .. } => {
                assert!(self.outstanding.remove(&context), "completed twice");
            }
            Received::DevicesChanged => assert!(self.queue.take_rescan()),
            Received::Dropped(_) => {}
        }
    }

    fn close(&mut self, input: &mut Input<'_>) {
        if input.u8() == 1 {
            self.queue.close();
        }
        if let Some(context) = self.queue.cancel_next() {
            assert!(self.queue.is_closed());
            assert!(self.outstanding.remove(&context));
        }
    }
}

/// A scan whose commands are answered with bytes of the input, and then with "no such unit".
fn scan(input: &mut Input<'_>) {
    let only_unit_0 = input.flag();
    let mut scan = Scan::new(Address::default(), only_unit_0, RetryLimits::default());
    let mut commands = 0;
    while let Some(command) = scan.command() {
        assert!(command.length <= 4096);
        let outcome = match input.step() {
            None => {
                commands += 1;
                assert!(commands <= MOST_COMMANDS, "a scan without end");
                Outcome {
                    result: Err(CommandError::DeviceGone),
                    ..Outcome::cancelled(command.length)
                }
            }
            Some(status) => {
                let srb = Srb {
                    srb_status: status,
                    scsi_status: input.u8(),
                    sense_info_length: 20,
                    data_transfer_length: u32::from(input.u16()).into(),
                    command_or_sense: sense(input),
                    ..Srb::ZERO
                };
                Outcome::read(&srb, command.length, Version::Win10)
            }
        };
        let mut data = input.long_bytes().to_vec();
        data.truncate(command.length as usize);
        match scan.answer(&outcome, &data) {
            ScanProgress::Next | ScanProgress::NextAfter(_) => {}
            ScanProgress::Done => assert!(scan.command().is_none()),
            ScanProgress::Failed(_) => break,
        }
    }
    let _ = scan.changed_meanwhile();
    assert!(scan.into_units().len() <= 256);
}

/// Sense data in the fixed format with key and code from the input.
fn sense(input: &mut Input<'_>) -> [u8; 20] {
    let mut sense = [0; 20];
    sense[0] = 0x70;
    sense[7] = 10;
    (sense[2], sense[12], sense[13]) = (input.u8(), input.u8(), input.u8());
    if input.u8() == 1 {
        sense = input.array();
    }
    sense
}
