//! The 16550 serial ports.
