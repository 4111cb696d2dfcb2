//! Scanning and addressing disks that answer as a test says.

mod arithmetic;
mod retries;
mod scans;
