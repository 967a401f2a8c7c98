// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The part of JSON Schema (2020-12) that our schemas use; a keyword beyond it is refused, so that nothing is believed to be checked that
//! is not. The crates for the whole of it bring a hundred others for addresses and e-mail.

use regex::Regex;
use serde_json::{Map, Value};

/// A schema.
pub(crate) struct Schema(Value);

/// Keywords that say nothing of what is valid.
const REMARKS: [&str; 5] = ["$schema", "$id", "$defs", "title", "description"];

impl Schema {
    /// The schema of a text.
    pub(crate) fn new(text: &str) -> Schema {
        let schema = Schema(serde_json::from_str(text).expect("JSON"));
        schema.known(&schema.0, "");
        schema
    }

    /// Everything that is wrong with a value, by place.
    pub(crate) fn errors(&self, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        self.check(&self.0, value, "", &mut found);
        found
    }

    /// Fails for keywords that [`Schema::check`] does not know.
    fn known(&self, schema: &Value, at: &str) {
        let Value::Object(map) = schema else {
            assert_eq!(schema, &Value::Bool(false), "{at}");
            return;
        };
        for (keyword, x) in map {
            let at = format!("{at}/{keyword}");
            match keyword.as_str() {
                "properties" | "$defs" => {
                    for (name, inner) in x.as_object().expect("an object") {
                        self.known(inner, &format!("{at}/{name}"));
                    }
                }
                "items" | "additionalProperties" => self.known(x, &at),
                "oneOf" => x
                    .as_array()
                    .expect("a list")
                    .iter()
                    .for_each(|s| self.known(s, &at)),
                "$ref" => assert!(self.referred(x).is_object(), "{at}"),
                "pattern" => drop(Regex::new(x.as_str().expect("a string")).expect("a pattern")),
                "type" | "const" | "enum" | "required" | "minItems" | "maxItems" | "minLength"
                | "minimum" | "maximum" | "exclusiveMinimum" => {}
                other => assert!(REMARKS.contains(&other), "{at}: unknown"),
            }
        }
    }

    fn referred(&self, x: &Value) -> &Value {
        let pointer = x
            .as_str()
            .and_then(|s| s.strip_prefix('#'))
            .expect("a local reference");
        self.0.pointer(pointer).expect("is there")
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
        let Value::Object(map) = schema else {
            found.push(format!("{at}: may not be there"));
            return;
        };
        for (keyword, x) in map {
            let number = |f: fn(f64, f64) -> bool| match (value.as_f64(), x.as_f64()) {
                (Some(v), Some(x)) => f(v, x),
                _ => true,
            };
            let length = |f: fn(u64, u64) -> bool, len: Option<usize>| {
                len.is_none_or(|len| f(len as u64, x.as_u64().expect("a count")))
            };
            let text = value.as_str();
            let good = match keyword.as_str() {
                "type" => match x.as_str().expect("one type") {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "number" => value.is_number(),
                    "integer" => value.is_u64() || value.is_i64(),
                    other => panic!("{other}: unknown type"),
                },
                "const" => value == x,
                "enum" => x.as_array().expect("a list").contains(value),
                "minimum" => number(|v, x| v >= x),
                "maximum" => number(|v, x| v <= x),
                "exclusiveMinimum" => number(|v, x| v > x),
                "minItems" => length(|n, x| n >= x, value.as_array().map(Vec::len)),
                "maxItems" => length(|n, x| n <= x, value.as_array().map(Vec::len)),
                "minLength" => length(|n, x| n >= x, text.map(|s| s.chars().count())),
                "pattern" => text.is_none_or(|s| {
                    let pattern = Regex::new(x.as_str().expect("a string"));
                    pattern.expect("a pattern").is_match(s)
                }),
                "required" => value.as_object().is_none_or(|have| {
                    let names = x.as_array().expect("a list").iter();
                    names
                        .flat_map(Value::as_str)
                        .all(|name| have.contains_key(name))
                }),
                "oneOf" => {
                    let fits = |s: &&Value| {
                        let mut inside = Vec::new();
                        self.check(s, value, at, &mut inside);
                        inside.is_empty()
                    };
                    x.as_array().expect("a list").iter().filter(fits).count() == 1
                }
                "$ref" => {
                    self.check(self.referred(x), value, at, found);
                    true
                }
                "items" => {
                    for (i, v) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(x, v, &format!("{at}/{i}"), found);
                    }
                    true
                }
                "properties" => {
                    self.members(map, value, at, found);
                    true
                }
                // With `properties`.
                _ => true,
            };
            if !good {
                found.push(format!("{at}: {keyword} is {x}, the value {value}"));
            }
        }
    }

    /// `properties`, and `additionalProperties` for the rest.
    fn members(&self, map: &Map<String, Value>, value: &Value, at: &str, found: &mut Vec<String>) {
        for (name, v) in value.as_object().into_iter().flatten() {
            let schema = map["properties"]
                .get(name)
                .or(map.get("additionalProperties"));
            if let Some(schema) = schema {
                self.check(schema, v, &format!("{at}/{name}"), found);
            }
        }
    }
}
