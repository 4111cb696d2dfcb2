//! Codes from the wire: known ones have names, unknown ones survive.

/// Makes a newtype of a code from the wire, with constants for the values that are known: unlike an `enum` it holds any
/// value, so that none is lost or refused by accident. Its `Debug` prints the constants' names.
///
/// ```
/// vmbus_core::open_enum! {
///     /// What a message asks for.
///     Operation: u32 {
///         /// To begin.
///         BEGIN = 1,
///         /// To end.
///         END = 2,
///     }
/// }
/// assert_eq!(Operation(2), Operation::END);
/// assert_eq!(Operation(2).name(), Some("END"));
/// assert_eq!(format!("{:?}", Operation(77)), "Operation(0x4d)");
/// ```
#[macro_export]
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
