//! A message as canonical proto3 JSON: camel case, 64-bit numbers as texts, enums by name, and nothing
//! of what has its default.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{DynamicMessage, Kind, MapKey, Value};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A message on its way out.
pub(super) struct Written<'a>(pub(super) &'a DynamicMessage);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        for (field, value) in self.0.fields() {
            let kind = match field.kind() {
                Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
                kind => kind,
            };
            object.serialize_entry(field.json_name(), &Of { kind: &kind, value })?;
        }
        object.end()
    }
}

/// A value of a kind.
struct Of<'a> {
    kind: &'a Kind,
    value: &'a Value,
}

impl Serialize for Of<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { kind, value } = *self;
        match value {
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::I32(value) => serializer.serialize_i32(*value),
            Value::U32(value) => serializer.serialize_u32(*value),
            Value::I64(value) => serializer.collect_str(value),
            Value::U64(value) => serializer.collect_str(value),
            Value::F32(value) if value.is_finite() => serializer.serialize_f32(*value),
            Value::F64(value) if value.is_finite() => serializer.serialize_f64(*value),
            Value::F32(value) => serializer.serialize_str(endless(f64::from(*value))),
            Value::F64(value) => serializer.serialize_str(endless(*value)),
            Value::String(value) => serializer.serialize_str(value),
            Value::Bytes(value) => serializer.serialize_str(&STANDARD.encode(value)),
            Value::EnumNumber(number) => {
                let name = kind.as_enum().and_then(|names| names.get_value(*number));
                match name {
                    Some(name) => serializer.serialize_str(name.name()),
                    None => serializer.serialize_i32(*number),
                }
            }
            Value::Message(message) => Written(message).serialize(serializer),
            Value::List(list) => serializer.collect_seq(list.iter().map(|value| Of { kind, value })),
            Value::Map(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_unstable_by_key(|(key, _)| *key);
                serializer
                    .collect_map(entries.into_iter().map(|(key, value)| (text(key), Of { kind, value })))
            }
        }
    }
}

fn endless(value: f64) -> &'static str {
    match value {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    }
}

fn text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}
