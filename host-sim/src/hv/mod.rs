//! The hypervisor shim: CPUID, MSRs, hypercalls, SynIC and time, without any CPU inside.
