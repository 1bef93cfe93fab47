// SPDX-License-Identifier: MPL-2.0
//! Lists and maps of files that are not trusted: reading stops at the first entry too many, before
//! there is memory for it.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A list of at most `MOST` elements.
#[derive(Debug)]
pub(crate) struct BoundedList<T, const MOST: usize>(pub Vec<T>);

/// A map of strings with at most `MOST` entries.
#[derive(Debug)]
pub(crate) struct BoundedMap<T, const MOST: usize>(pub HashMap<String, T>);

impl<T, const MOST: usize> Default for BoundedList<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for BoundedList<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for BoundedMap<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MapVisitor(PhantomData))
    }
}

struct ListVisitor<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for ListVisitor<T, MOST> {
    type Value = BoundedList<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a list of at most {MOST} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            if elements.len() >= MOST {
                return Err(too_many(MOST));
            }
            elements.push(element);
        }
        Ok(BoundedList(elements))
    }
}

struct MapVisitor<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for MapVisitor<T, MOST> {
    type Value = BoundedMap<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a map of at most {MOST} entries")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = HashMap::new();
        while let Some((key, value)) = map.next_entry()? {
            if entries.len() >= MOST {
                return Err(too_many(MOST));
            }
            entries.insert(key, value);
        }
        Ok(BoundedMap(entries))
    }
}

fn too_many<E: Error>(most: usize) -> E {
    E::custom(format!("more than {most} entries"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_bounded_while_they_are_read() {
        let list = |json: &str| serde_json::from_str::<BoundedList<u8, 3>>(json);
        assert_eq!(list("[1, 2, 3]").unwrap().0, [1, 2, 3]);
        assert!(list("[1, 2, 300]").is_err() && list("{}").is_err());
        // What follows is not even looked at.
        let error = list("[1, 2, 3, 4, no list").unwrap_err().to_string();
        assert!(error.starts_with("more than 3 entries"), "{error}");
    }

    #[test]
    fn maps_are_bounded_while_they_are_read() {
        let map = |json: &str| serde_json::from_str::<BoundedMap<u8, 2>>(json);
        assert_eq!(map(r#"{"a": 1, "b": 2}"#).unwrap().0["b"], 2);
        let error = map(r#"{"a": 1, "b": 2, "c": 3, no map"#).unwrap_err();
        assert!(error.to_string().starts_with("more than 2 entries"));
    }
}
