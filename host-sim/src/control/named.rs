//! A request as an object with names.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::request::Request;

/// A request that came as an object. Serde would also take a list of a verb and its parameters, whose meaning is a guess.
pub(super) struct Named(pub(super) Request);

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Named;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Named, A::Error> {
                Request::deserialize(MapAccessDeserializer::new(map)).map(Named)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_objects_with_each_name_once_are_requests() {
        let read = |text: &str| serde_json::from_str(text).map(|Named(request)| request);
        assert_eq!(read(r#"{"verb":"quit"}"#).unwrap(), Request::Quit {});
        for text in [
            r#"["quit"]"#,
            r#""quit""#,
            r#"{"verb":"status","verb":"quit"}"#,
            r#"{"verb":"shutdown","wait":1,"wait":2}"#,
            r#"{"verb":"quit","dry-run":true}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
