//! Fields of JSON records as literals, for commands that look at samples.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of a JSON object in their order, values unread.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    members.push((name.0, value));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Object).map(Members)
    }
}

/// A member's name, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The members of a JSON object in their order; `None` for anything else.
pub(super) fn members(bytes: &[u8]) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    let whole: &RawValue = serde_json::from_slice(bytes).ok()?;
    serde_json::from_str::<Members<'_>>(whole.get()).ok().map(|members| members.0)
}

/// The literal at a path of names, outermost first; of members with one name the last counts.
pub(super) fn find<'a>(bytes: &'a [u8], path: &[String]) -> Option<&'a RawValue> {
    let (first, rest) = path.split_first()?;
    let (_, inner) = members(bytes)?.into_iter().rev().find(|(name, _)| name == first)?;
    if rest.is_empty() { Some(inner) } else { find(inner.get().as_bytes(), rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_literals() {
        let record = br#"{"a":{"b":1.50},"a\u0062":[1],"c":1,"c":2}"#;
        let at = |path: &[&str]| {
            let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
            find(record, &path).map(RawValue::get)
        };
        assert_eq!(at(&["a", "b"]), Some("1.50"));
        assert_eq!(at(&["ab"]), Some("[1]"));
        assert_eq!(at(&["c"]), Some("2"));
        assert_eq!((at(&["a", "x"]), at(&["c", "x"]), at(&[])), (None, None, None));
        assert!(members(b"[1]").is_none() && members(b"{").is_none());
    }
}
