//! Connections of every version, from the first message to the last.

use vmbus_core::guid::Guid;
use vmbus_core::protocol::{
    ChannelId, CloseReservedChannelResponse, GuestMessage, HostMessage, MessageBuffer,
    ModifyConnectionResponse, OpenReservedChannel, Pause, PauseResponse, ReplyStatus,
    TlConnectRequest, TlConnectResult,
};
use vmbus_core::protocol::{ConnectionState, GpadlId};
use vmbus_core::version::ProtocolVersion;

use super::writer::Writer;
use crate::vmbus_guest_messages::{kind as guest_kind, op as server_op};
use crate::vmbus_host_messages::{kind as host_kind, op as guest_op};

const VERSIONS: [ProtocolVersion; 11] = ProtocolVersion::ALL_NEWEST_FIRST;
/// Position of [`ReplyStatus::SUCCESS`] and of a failure.
const SUCCESS: u8 = 0;
const FAILED: u8 = 1;

/// What the host says to the guest.
pub(super) fn host() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (index, version) in VERSIONS.into_iter().enumerate() {
        let name = format!("connection-{version}");
        seeds.push((name, host_connection(index as u8, version)));
    }
    seeds.push(("refusals".into(), refusals()));
    seeds.push(("sub-channels".into(), sub_channels()));
    seeds.push(("rescind-while-opening".into(), rescind_while_opening()));
    seeds.push(("late-answers".into(), late_answers()));
    seeds.push(("messages".into(), host_messages()));
    seeds
}

/// A guest that proposes versions from `newest` on, connecting.
fn connecting(newest: u8) -> Writer {
    let mut writer = Writer::new();
    writer.put(&[newest, 10]).u32(0).put(&[0]);
    writer.put(&[guest_op::CONNECT]).u16(1000);
    writer.put(&[guest_op::DRAIN]);
    writer
}

fn built(writer: &mut Writer, message: &[u8]) {
    writer.put(&[guest_op::BUILT_MESSAGE]).put(message);
}

fn connected(newest: u8, version: ProtocolVersion) -> Writer {
    let mut writer = connecting(newest);
    let by_version = u8::from(!version.has_message_connection());
    built(
        &mut writer,
        &[host_kind::VERSION, 1, newest, 0, by_version, 0],
    );
    writer.put(&[guest_op::DRAIN]);
    writer
}

/// Channel, instance, sub-channel index.
fn offer(writer: &mut Writer, channel: u8, instance: u8, index: u8) {
    built(
        writer,
        &[host_kind::OFFER, channel, instance, index, 0, channel],
    );
}

/// The newest channel's GPADL, established.
fn rings(writer: &mut Writer, channel: u8, gpadl: u8) {
    writer.put(&[guest_op::GPADL, 0, 40]).u16(1000);
    writer.put(&[guest_op::DRAIN]);
    built(writer, &[host_kind::GPADL_CREATED, channel, gpadl, SUCCESS]);
    writer.put(&[guest_op::DRAIN]);
}

fn open(writer: &mut Writer) {
    writer.put(&[guest_op::OPEN, 0]).u16(1000).put(&[0, 20, 0]);
}

fn host_connection(newest: u8, version: ProtocolVersion) -> Vec<u8> {
    let mut writer = connected(newest, version);
    offer(&mut writer, 1, 1, 0);
    built(&mut writer, &[host_kind::ALL_OFFERS]);
    writer.put(&[guest_op::DRAIN]);
    rings(&mut writer, 1, 0);
    open(&mut writer);
    writer.put(&[guest_op::DRAIN]);
    built(&mut writer, &[host_kind::OPENED, 1, 1, SUCCESS]);
    writer
        .put(&[guest_op::DRAIN, guest_op::MODIFY, 0])
        .u16(1000)
        .put(&[1]);
    writer.put(&[guest_op::DRAIN]);
    built(&mut writer, &[host_kind::MODIFIED, 1, SUCCESS]);
    writer.put(&[guest_op::CLOSE, 0]).u16(1000);
    writer.put(&[guest_op::DRAIN]);
    built(&mut writer, &[host_kind::TORNDOWN, 0]);
    built(&mut writer, &[host_kind::RESCIND, 1]);
    writer.put(&[guest_op::DRAIN, guest_op::UNLOAD]).u16(1000);
    writer.put(&[guest_op::DRAIN]);
    built(&mut writer, &[host_kind::UNLOADED]);
    writer.finish()
}

fn refusals() -> Vec<u8> {
    let mut writer = connecting(0);
    for _ in 0..9 {
        built(&mut writer, &[host_kind::VERSION, 0, 0, 0, 0, 0]);
        writer.put(&[guest_op::DRAIN]);
    }
    built(&mut writer, &[host_kind::VERSION, 1, 9, 0, 1, 0]);
    offer(&mut writer, 2, 1, 0);
    writer
        .put(&[guest_op::DRAIN, guest_op::GPADL, 0, 4])
        .u16(10);
    built(&mut writer, &[host_kind::GPADL_CREATED, 2, 0, FAILED]);
    writer.put(&[guest_op::OUTGOING, guest_op::NOT_POSTED, guest_op::EVENT]);
    rings(&mut writer, 2, 1);
    open(&mut writer);
    writer.put(&[guest_op::OUTGOING]);
    built(&mut writer, &[host_kind::OPENED, 2, 1, FAILED]);
    writer.put(&[guest_op::DRAIN]).finish()
}

fn sub_channels() -> Vec<u8> {
    let mut writer = connected(0, ProtocolVersion::V6_0);
    for index in 0..3 {
        offer(&mut writer, 1 + index, 7, index);
        writer.put(&[guest_op::DRAIN]);
        rings(&mut writer, 1 + index, index);
        open(&mut writer);
        writer.put(&[guest_op::DRAIN]);
        built(
            &mut writer,
            &[host_kind::OPENED, 1 + index, 1 + index, SUCCESS],
        );
    }
    // The primary channel is the oldest.
    writer.put(&[guest_op::DRAIN, guest_op::CLOSE, 2]).u16(1000);
    writer.put(&[guest_op::DRAIN]);
    for gpadl in 0..3 {
        built(&mut writer, &[host_kind::TORNDOWN, gpadl]);
    }
    writer.put(&[guest_op::DRAIN]).finish()
}

fn rescind_while_opening() -> Vec<u8> {
    let mut writer = connected(2, VERSIONS[2]);
    offer(&mut writer, 5, 1, 0);
    writer.put(&[guest_op::DRAIN]);
    rings(&mut writer, 5, 0);
    open(&mut writer);
    writer.put(&[guest_op::OUTGOING]);
    built(&mut writer, &[host_kind::RESCIND, 5]);
    built(&mut writer, &[host_kind::OPENED, 5, 1, SUCCESS]);
    writer.put(&[guest_op::DRAIN, guest_op::CLOSE, 0]).u16(10);
    writer.put(&[guest_op::DRAIN]);
    offer(&mut writer, 5, 1, 0);
    writer.put(&[guest_op::DRAIN]).finish()
}

fn late_answers() -> Vec<u8> {
    let mut writer = connected(4, VERSIONS[4]);
    offer(&mut writer, 1, 1, 0);
    writer.put(&[guest_op::DRAIN]);
    rings(&mut writer, 1, 0);
    open(&mut writer);
    writer.put(&[guest_op::DRAIN, guest_op::EXPIRE]).u16(2000);
    built(&mut writer, &[host_kind::OPENED, 1, 1, SUCCESS]);
    writer.put(&[guest_op::DRAIN]);
    built(&mut writer, &[host_kind::TORNDOWN, 0]);
    writer.put(&[guest_op::CONNECT]).u16(1000);
    writer.put(&[guest_op::DRAIN, guest_op::EXPIRE]).u16(2000);
    writer.finish()
}

/// Messages that no step builds, as bytes.
fn host_messages() -> Vec<u8> {
    let guid = Guid::from_bytes([3; 16]);
    let messages: [HostMessage; 4] = [
        TlConnectResult {
            endpoint_id: guid,
            service_id: guid,
            status: ReplyStatus::CONNECTION_REFUSED,
        }
        .into(),
        CloseReservedChannelResponse {
            channel_id: ChannelId(1),
        }
        .into(),
        ModifyConnectionResponse {
            connection_state: ConnectionState::SUCCESS,
        }
        .into(),
        PauseResponse {}.into(),
    ];
    let mut writer = connected(0, ProtocolVersion::V6_0);
    for message in messages {
        let mut buffer = MessageBuffer::new();
        message.emit(&mut buffer);
        writer.put(&[guest_op::MESSAGE]).bytes(buffer.as_bytes());
    }
    writer.finish()
}

/// What the guest says to the host.
pub(super) fn guest() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (index, version) in VERSIONS.into_iter().enumerate() {
        let name = format!("connection-{version}");
        seeds.push((name, guest_connection(index as u8, version)));
    }
    seeds.push(("reopen".into(), reopen()));
    seeds.push(("long-gpadl".into(), long_gpadl()));
    seeds.push(("paused".into(), paused()));
    seeds.push(("reconnect".into(), reconnect()));
    seeds.push(("messages".into(), guest_messages()));
    seeds
}

fn posted(writer: &mut Writer, message: &[u8]) {
    writer.put(&[server_op::BUILT_MESSAGE, 0]).put(message);
}

fn contact(writer: &mut Writer, index: u8, version: ProtocolVersion) {
    let by_client = u8::from(version.has_message_connection());
    writer.put(&[server_op::BUILT_MESSAGE, by_client]);
    writer.put(&[guest_kind::CONTACT, index, 0]).u32(0);
    // No special interrupt source, nor VTL; or no interrupt page. No monitor pages.
    writer.put(&[0, 0, 0, 0]);
}

/// A server with two devices and a guest that has connected.
fn served(index: u8, version: ProtocolVersion) -> Writer {
    let mut writer = Writer::new();
    writer.put(&[0, 10]);
    for class in 0..2 {
        writer.put(&[server_op::ADD_DEVICE, class]).u16(0).put(&[4]);
    }
    contact(&mut writer, index, version);
    posted(&mut writer, &[guest_kind::REQUEST_OFFERS]);
    writer
}

/// Lends eight pages and opens the channel over them.
fn lend_and_open(writer: &mut Writer, channel: u8, gpadl: u8) {
    posted(
        writer,
        &[guest_kind::GPADL, channel, gpadl, 8, 0, 8 * gpadl, 1, 0],
    );
    posted(writer, &[guest_kind::OPEN, channel, gpadl, gpadl, 1, 4, 1]);
    // With the parameters for signals.
    writer.u16(0x2001).u16(channel.into());
    writer.put(&[server_op::OPENED, 0, 1]);
}

fn guest_connection(index: u8, version: ProtocolVersion) -> Vec<u8> {
    let mut writer = served(index, version);
    lend_and_open(&mut writer, 1, 1);
    writer.put(&[server_op::SUB_CHANNELS, 0, 2, server_op::SUB_CHANNELS, 1, 2]);
    lend_and_open(&mut writer, 3, 2);
    posted(&mut writer, &[guest_kind::MODIFY, 1, 1]);
    posted(&mut writer, &[guest_kind::TEARDOWN, 1, 1]);
    posted(&mut writer, &[guest_kind::CLOSE, 1]);
    writer.put(&[server_op::CLOSED, 0, server_op::CLOSED, 0]);
    posted(&mut writer, &[guest_kind::TEARDOWN, 1, 1]);
    writer.put(&[server_op::REMOVE_DEVICE, 0]);
    posted(&mut writer, &[guest_kind::RELEASE, 1]);
    posted(&mut writer, &[guest_kind::UNLOAD]);
    writer.put(&[server_op::CLOSED, 0]).finish()
}

fn reopen() -> Vec<u8> {
    let mut writer = served(0, ProtocolVersion::V6_0);
    lend_and_open(&mut writer, 1, 1);
    posted(&mut writer, &[guest_kind::CLOSE, 1]);
    posted(&mut writer, &[guest_kind::OPEN, 1, 2, 1, 0, 4, 0]);
    writer.put(&[server_op::CLOSED, 0, server_op::OPENED, 0, 0]);
    writer
        .put(&[server_op::CLOSED, 0, server_op::RESET])
        .finish()
}

fn long_gpadl() -> Vec<u8> {
    let mut writer = served(2, VERSIONS[2]);
    posted(&mut writer, &[guest_kind::GPADL, 1, 9, 50, 0, 0, 1, 0]);
    posted(&mut writer, &[guest_kind::GPADL_BODY, 9, 26, 1]);
    posted(&mut writer, &[guest_kind::OPEN, 1, 1, 9, 0, 10, 0]);
    writer.put(&[server_op::OPENED, 0, 1]).finish()
}

fn paused() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.put(&[0, 10]);
    writer.put(&[server_op::BUILT_MESSAGE, 1]);
    // With all features.
    writer
        .put(&[guest_kind::CONTACT, 0, 0])
        .u32(u32::MAX)
        .put(&[0, 0, 0, 0]);
    posted(&mut writer, &[guest_kind::REQUEST_OFFERS]);
    posted(&mut writer, &[guest_kind::PAUSE]);
    writer.put(&[server_op::ADD_DEVICE, 0]).u16(0).put(&[4]);
    posted(&mut writer, &[guest_kind::RESUME]);
    posted(&mut writer, &[guest_kind::SOCKET]);
    posted(&mut writer, &[guest_kind::MODIFY_CONNECTION, 1, 2]);
    posted(&mut writer, &[guest_kind::CLOSE_RESERVED, 1, 1, 2]);
    writer.finish()
}

fn reconnect() -> Vec<u8> {
    let mut writer = served(3, VERSIONS[3]);
    lend_and_open(&mut writer, 2, 3);
    contact(&mut writer, 5, VERSIONS[5]);
    writer.put(&[server_op::CLOSED, 0]);
    posted(&mut writer, &[guest_kind::REQUEST_OFFERS]);
    writer.finish()
}

/// Messages in raw bytes.
fn guest_messages() -> Vec<u8> {
    let guid = Guid::from_bytes([4; 16]);
    let messages: [GuestMessage<'_>; 3] = [
        OpenReservedChannel {
            channel_id: ChannelId(1),
            target_vp: 0,
            target_sint: 2,
            ring_gpadl_id: GpadlId(1),
            downstream_page_offset: 4,
        }
        .into(),
        TlConnectRequest {
            endpoint_id: guid,
            service_id: guid,
            silo_id: Some(guid),
        }
        .into(),
        Pause {}.into(),
    ];
    let mut writer = served(0, ProtocolVersion::V6_0);
    for message in messages {
        let mut buffer = MessageBuffer::new();
        message.emit(&mut buffer).expect("short messages");
        writer
            .put(&[server_op::MESSAGE, 0])
            .bytes(buffer.as_bytes());
    }
    writer.finish()
}
