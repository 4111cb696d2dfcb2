//! Cutting of long TCP segments in software.

use std::ops::ControlFlow;

use super::checksum::{fill_ipv4_header, fill_transport};
use super::frame::Frame;
use super::headers::{Headers, IpVersion, word};

/// Bits of TCP's flags: FIN, PSH, CWR.
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Cuts a frame whose [`segmentation`](super::Offload::segmentation) is still to be done and gives each segment, with
/// all of its checksums made, to `each`, in order, until that breaks off. `scratch` is for the segments.
///
/// Returns how many it gave; `None`, with none given, if the frame holds no TCP segment, or there is nothing to
/// cut it into.
pub fn segment(
    frame: &Frame,
    scratch: &mut Frame,
    mut each: impl FnMut(&mut Frame) -> ControlFlow<()>,
) -> Option<usize> {
    let size = usize::from(frame.offload.segmentation?.segment_size);
    let headers = Headers::parse(&frame.bytes)?;
    let header_length = headers.transport + headers.tcp_header_length(&frame.bytes)?;
    let payload = frame.bytes.get(header_length..headers.end)?;
    if size == 0 {
        return None;
    }
    let all_headers = frame.bytes.get(..header_length)?;
    let sequence_at = headers.transport + 4;
    let sequence = all_headers
        .get(sequence_at..)?
        .first_chunk()
        .map(|bytes| u32::from_be_bytes(*bytes))?;
    let flags_at = headers.transport + 13;
    let flags = *all_headers.get(flags_at)?;
    let identification = word(all_headers, headers.network + 4)?;
    let count = payload.len().div_ceil(size).max(1);
    for index in 0..count {
        let start = index * size;
        let end = (start + size).min(payload.len());
        scratch.clear();
        scratch.bytes.extend_from_slice(all_headers);
        scratch.bytes.extend_from_slice(&payload[start..end]);
        let bytes = &mut scratch.bytes;
        let total = bytes.len();
        let (length_at, length) = match headers.version {
            IpVersion::V4 => {
                let id = identification.wrapping_add(index as u16);
                bytes[headers.network + 4..headers.network + 6].copy_from_slice(&id.to_be_bytes());
                (headers.network + 2, total - headers.network)
            }
            IpVersion::V6 => (headers.network + 4, total - headers.network - 40),
        };
        let length = u16::try_from(length).ok()?;
        bytes[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        let number = sequence.wrapping_add(start as u32);
        bytes[sequence_at..sequence_at + 4].copy_from_slice(&number.to_be_bytes());
        let mut own = flags;
        if index != 0 {
            own &= !CWR;
        }
        if index + 1 != count {
            own &= !(FIN | PSH);
        }
        bytes[flags_at] = own;
        let own_headers = Headers {
            end: total,
            ..headers
        };
        fill_ipv4_header(bytes, &own_headers);
        fill_transport(bytes, &own_headers)?;
        if each(scratch).is_break() {
            return Some(index + 1);
        }
    }
    Some(count)
}
