//! Synthetic network adapters of Hyper-V and Azure.
//!
//! An adapter is a VMBus channel on which both ends speak NVSP, a thin protocol about shared buffers and queues;
//! it carries RNDIS messages, and those carry Ethernet frames with their offload metadata, and the control of the
//! adapter by OIDs. This crate holds the formats, for both ends:
//!
//! | Module | Holds |
//! |---|---|
//! | [`wire::nvsp`] | NVSP: versions, buffers, sub-channels, where RNDIS bytes lie |
//! | [`wire::rndis`] | RNDIS: control messages, packets, per-packet information |
//! | [`wire::ndis`] | what OIDs ask for and answer: offloads, receive-side scaling, link state, statistics |
//!
//! Nothing here allocates. Lengths and offsets from the peer are checked where a message is parsed; what a parser
//! returns lies within the bytes it was given.
#![no_std]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

#[cfg(test)]
extern crate std;

pub mod wire;
