//! A server for VNC clients.
