//! Speed of the rings.
fn main() {}
