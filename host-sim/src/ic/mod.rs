//! Host ends of the integration services.
