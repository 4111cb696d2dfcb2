//! The scenarios, a file each.

use crate::scenario::Scenario;

mod boot;
mod control;
mod crash;
mod daemons;
mod disk;
mod disk_discard;
mod disk_fault;
mod disk_formats;
mod disk_hot;
mod disk_many;
mod disk_unclean;
mod file_copy;
mod heartbeat;
mod host_version;
mod hypercalls;
mod input;
mod kvp;
mod network;
mod network_backend_death;
mod network_passt;
mod network_tap;
mod network_tools;
mod restart;
mod screen;
mod shutdown;
mod sub_channels;
mod switch;
mod time_sync;
mod vss;

/// All scenarios, in the order in which they run.
pub const ALL: &[Scenario] = &[
    boot::SCENARIO,
    boot::OTHER_KERNELS,
    boot::PLAIN,
    hypercalls::SCENARIO,
    disk::SCENARIO,
    disk_hot::SCENARIO,
    disk_discard::SCENARIO,
    disk_formats::SCENARIO,
    disk_many::SCENARIO,
    disk_unclean::SCENARIO,
    disk_fault::SCENARIO,
    sub_channels::SCENARIO,
    network::SCENARIO,
    network_tap::SCENARIO,
    network_passt::SCENARIO,
    switch::SCENARIO,
    network_backend_death::SCENARIO,
    screen::SCENARIO,
    input::SCENARIO,
    heartbeat::SCENARIO,
    shutdown::SCENARIO,
    kvp::SCENARIO,
    vss::SCENARIO,
    file_copy::SCENARIO,
    time_sync::SCENARIO,
    restart::SCENARIO,
    crash::SCENARIO,
    host_version::WINDOWS_2008,
    host_version::WINDOWS_2008R2,
    host_version::WINDOWS_2012,
    host_version::WINDOWS_2012R2,
    host_version::WINDOWS_2016,
    host_version::WINDOWS_2019,
    host_version::WINDOWS_2022,
    host_version::WINDOWS_2025,
    control::SCENARIO,
];

/// The scenario of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_distinct_and_every_scenario_runs_somewhere() {
        let names: HashSet<_> = ALL.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), ALL.len());
        for scenario in ALL {
            assert!(!scenario.kernels.is_empty(), "{}", scenario.name);
            assert!(!scenario.cpus.is_empty(), "{}", scenario.name);
            assert!(!scenario.limit.is_zero(), "{}", scenario.name);
        }
    }
}
