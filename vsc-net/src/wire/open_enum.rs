//! Codes from the wire: known ones have names, unknown ones survive.

/// Gives a newtype its constants, and its `Debug` their names.
macro_rules! open_enum {
    (
        $(#[$attribute:meta])*
        $name:ident: $raw:ty {
            $( $(#[$constant_attribute:meta])* $constant:ident = $value:expr, )+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(transparent)]
        pub struct $name(pub $raw);

        impl $name {
            $( $(#[$constant_attribute])* pub const $constant: Self = Self($value); )+

            /// The constant's name, or `None` for a value without one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $( $value => Some(stringify!($constant)), )+
                    _ => None,
                }
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{}({:#x})", stringify!($name), self.0),
                }
            }
        }
    };
}
