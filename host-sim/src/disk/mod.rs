//! Disk images behind one trait.
