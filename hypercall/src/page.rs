//! The hypercall page.
