//! NDIS: what OIDs ask for and answer.

mod config_parameter;
mod encapsulation;
mod link_state;
mod object;
mod offload;
mod offload_parameters;
mod oid;
mod receive_scaling;
mod statistics;

pub use config_parameter::{ConfigParameter, ConfigParameterError};
pub use encapsulation::{Encapsulation, FamilyEncapsulation, OffloadEncapsulation};
pub use link_state::{ConnectState, LinkState};
pub use object::{ObjectHeader, ObjectType};
pub use offload::{ChecksumOffload, LargeSendOffload, Offload, checksum_bits, large_send_v6_bits};
pub use offload_parameters::{OffloadParameters, ParameterError, checksum_setting, switch_setting};
pub use oid::Oid;
pub use receive_scaling::{
    HASH_KEY_SIZE, RssCapabilities, RssError, RssFlags, RssParameters, capability_bits, hash_bits,
};
pub use statistics::{Statistics, statistics_bits};

#[cfg(test)]
mod tests;
