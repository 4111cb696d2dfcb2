//! Internet checksums in software.

use super::frame::Frame;
use super::headers::{Headers, IpVersion, PROTOCOL_UDP};

/// One's-complement sum of bytes as big-endian words; an odd last byte is the high half of one.
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut sum: u64 = words
        .iter()
        .map(|word| u64::from(u32::from_be_bytes(*word)))
        .sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    sum += u64::from(u32::from_be_bytes(last));
    sum
}

/// Folds a sum to 16 bits.
#[must_use]
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    // At most 0xFFFF now.
    sum as u16
}

/// Sum of the pseudo-header of a packet with a transport header and payload of `length` bytes.
#[must_use]
pub fn pseudo_header(headers: &Headers, frame: &[u8], length: usize) -> Option<u64> {
    let addresses = sum(headers.addresses(frame)?);
    Some(addresses + u64::from(headers.protocol) + length as u64)
}

/// Computes the checksum of a frame's IPv4 header and stores it; nothing for IPv6.
pub fn fill_ipv4_header(frame: &mut [u8], headers: &Headers) {
    if headers.version != IpVersion::V4 {
        return;
    }
    let length = frame
        .get(headers.network)
        .map_or(0, |byte| usize::from(byte & 0xF) * 4);
    if let Some(header) = frame.get_mut(headers.network..headers.network + length)
        && length >= 20
    {
        header[10..12].fill(0);
        let checksum = !fold(sum(header));
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Whether the checksum of a frame's IPv4 header is right; also for IPv6, which has none.
#[must_use]
pub fn is_ipv4_header_good(frame: &[u8], headers: &Headers) -> bool {
    if headers.version != IpVersion::V4 {
        return true;
    }
    let length = frame
        .get(headers.network)
        .map_or(0, |byte| usize::from(byte & 0xF) * 4);
    frame
        .get(headers.network..headers.network + length)
        .is_some_and(|header| fold(sum(header)) == 0xFFFF)
}

/// Stores the sum of the pseudo-header where the transport checksum goes, for whoever completes it.
pub fn seed_transport(frame: &mut [u8], headers: &Headers) -> Option<()> {
    let length = headers.end - headers.transport;
    let seed = fold(pseudo_header(headers, frame, length)?);
    let at = headers.transport + usize::from(headers.checksum_offset()?);
    frame
        .get_mut(at..at + 2)?
        .copy_from_slice(&seed.to_be_bytes());
    Some(())
}

/// Computes the transport checksum of a TCP or UDP packet anew and stores it; `None` if there is no place for one.
pub fn fill_transport(frame: &mut [u8], headers: &Headers) -> Option<()> {
    let offset = usize::from(headers.checksum_offset()?);
    let pseudo = pseudo_header(headers, frame, headers.end - headers.transport)?;
    let packet = frame.get_mut(headers.transport..headers.end)?;
    packet.get_mut(offset..offset + 2)?.fill(0);
    let mut checksum = !fold(sum(packet) + pseudo);
    if checksum == 0 && headers.protocol == PROTOCOL_UDP {
        // Zero stands for no checksum.
        checksum = 0xFFFF;
    }
    packet[offset..offset + 2].copy_from_slice(&checksum.to_be_bytes());
    Some(())
}

/// Whether the transport checksum of a TCP or UDP packet is right; `None` if it has none.
#[must_use]
pub fn is_transport_good(frame: &[u8], headers: &Headers) -> Option<bool> {
    let offset = usize::from(headers.checksum_offset()?);
    let packet = frame.get(headers.transport..headers.end)?;
    if headers.protocol == PROTOCOL_UDP && packet.get(offset..offset + 2)? == [0, 0] {
        return None;
    }
    let pseudo = pseudo_header(headers, frame, packet.len())?;
    Some(fold(sum(packet) + pseudo) == 0xFFFF)
}

/// Makes the checksum that is left to be made, if one is.
pub fn complete(frame: &mut Frame) {
    if frame.offload.checksum.take().is_none() {
        return;
    }
    if let Some(headers) = Headers::parse(&frame.bytes) {
        // The parsed headers say where, not the offload: it comes from a guest or another process.
        let _ = fill_transport(&mut frame.bytes, &headers);
    }
}
