//! A scripted guest.
