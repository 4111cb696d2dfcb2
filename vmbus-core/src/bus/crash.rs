//! Ending the connection of a system that has crashed.

use hypercall::Processor;
use hypercall::call::{MessageType, PostMessage};
use hypercall::invoke::{ParameterPage, post_message};
use hypercall::synic::{SintIndex, Synic, end_of_message};

use crate::protocol::{GuestMessage, HostMessage, MessageBuffer, Unload};

/// Messages that are taken from one slot in one round, so that a flooding host does not hold us up.
const MESSAGES_PER_ROUND: usize = 64;

/// Ends the connection without a [`Bus`](super::Bus), whose locks a crashed system may hold: posts UNLOAD
/// and polls the message slots of *all* processors for the answer, which may come to the one that was named
/// at the start or to processor 0. Other messages are thrown away.
///
/// Runs on any one processor, with interrupts off and all others stopped. `message_connection` is that of
/// the [`Agreement`](crate::connection::Agreement); a kernel keeps a copy for this. `wait` lets about 10 ms
/// pass between rounds; hosts need up to 10,000 rounds when they have much to write to disk.
///
/// Gives whether the host has confirmed that everything is closed and released. If not, the system can only
/// go on without.
pub fn unload_after_crash<'a, C: Processor + ?Sized>(
    processor: &C,
    parameters: &mut ParameterPage,
    message_connection: u32,
    synics: impl Iterator<Item = &'a Synic> + Clone,
    rounds: u32,
    mut wait: impl FnMut(),
) -> bool {
    let mut buffer = MessageBuffer::new();
    if GuestMessage::from(Unload {}).emit(&mut buffer).is_err() {
        return false;
    }
    let Ok(message) = PostMessage::new(message_connection, MessageType::VMBUS, buffer.as_bytes())
    else {
        return false;
    };
    let mut posted = false;
    for _ in 0..rounds {
        // The port may be full of what was posted before the crash.
        posted = posted || post_message(processor, parameters, &message).is_ok();
        for synic in synics.clone() {
            for _ in 0..MESSAGES_PER_ROUND {
                let Some(taken) = synic.message_page().take(SintIndex::VMBUS) else {
                    break;
                };
                if taken.pending {
                    // For the queue of another processor this does nothing, and its host looks again by
                    // itself.
                    let _ = end_of_message(processor);
                }
                let is_answer = taken.message.is_ok_and(|message| {
                    message.message_type == MessageType::VMBUS
                        && matches!(
                            HostMessage::parse(message.payload()),
                            Ok(HostMessage::UnloadResponse(_))
                        )
                });
                if is_answer && posted {
                    return true;
                }
            }
        }
        wait();
    }
    false
}
