//! Loaders that place a guest in memory.
