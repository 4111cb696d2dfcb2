//! The VMBus server.
