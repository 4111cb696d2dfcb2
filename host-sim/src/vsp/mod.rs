//! Virtual service providers: the host ends of the synthetic devices.
