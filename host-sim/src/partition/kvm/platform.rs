//! What a machine has besides processors, memory and interrupt controllers.

/// The machine's kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Platform {
    /// Serial ports and a power-off port: what our own guest needs. All processors enter at once.
    #[default]
    Bare,
    /// A PC with interval timer, real-time clock, power management and reset. Its boot processor enters; the others wait
    /// for its start-up messages.
    Pc {
        /// Whether the guest finds a hypervisor. A guest that doesn't has no synthetic MSRs either.
        hypervisor: bool,
    },
}

impl Platform {
    pub(super) fn is_pc(self) -> bool {
        matches!(self, Self::Pc { .. })
    }

    pub(super) fn shows_hypervisor(self) -> bool {
        !matches!(self, Self::Pc { hypervisor: false })
    }
}
