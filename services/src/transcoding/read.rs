//! Canonical proto3 JSON, read into a message by its descriptor.
//!
//! Stricter than some: an unknown field, a field that stands there twice, under both of its names or
//! beside another one of its oneof is refused, each with its path.

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::field::{FieldError, shown};
use crate::http::shallow;
use crate::status::{Denial, Rejection};

/// Doubles are exact for whole numbers up to here.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
/// Most characters of an unknown name in a path.
const NAME_CHARS_MAX: usize = 40;

/// Reads a body. What is nested too deeply is refused before anything recurses.
pub(super) fn read(bytes: &[u8], descriptor: &MessageDescriptor) -> Result<DynamicMessage, Rejection> {
    shallow(bytes)?;
    let mut place = Place::default();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let what = What::One(Kind::Message(descriptor.clone()));
    let read = Here { place: &mut place, what }.deserialize(&mut json);
    match read.and_then(|read| json.end().map(|()| read)) {
        Ok(Some(Value::Message(message))) => Ok(message),
        Ok(_) => Err(FieldError::invalid(".", "an object", "null").into()),
        Err(error) => Err(place.rejection(&error)),
    }
}

/// Where the reader is, and what was wrong there.
#[derive(Default)]
struct Place {
    path: String,
    wrong: Option<FieldError>,
}

impl Place {
    /// Steps into a field; the answer leads back.
    fn enter(&mut self, field: &str) -> usize {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(field);
        before
    }

    fn enter_item(&mut self, index: usize) -> usize {
        let before = self.path.len();
        // Writing to a text never fails.
        let _ = write!(self.path, "[{index}]");
        before
    }

    /// Only after all went well: the path of what is wrong is kept.
    fn leave(&mut self, before: usize) {
        self.path.truncate(before);
    }

    fn wrong<E: Error>(
        &mut self,
        reason: &'static str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> E {
        let path = if self.path.is_empty() { "." } else { &self.path };
        self.wrong = Some(FieldError::invalid(path, expected, found).because(reason));
        E::custom("")
    }

    fn rejection(self, error: &serde_json::Error) -> Rejection {
        match self.wrong {
            Some(error) => error.into(),
            None if self.path.is_empty() => {
                Denial::new("INVALID_MESSAGE", format!("expected JSON, found: {error}")).into()
            }
            None => {
                FieldError::invalid(&self.path, "JSON", error.to_string()).because("INVALID_MESSAGE").into()
            }
        }
    }
}

/// What is to stand at a place.
enum What {
    One(Kind),
    List(Kind),
    /// From texts to values of this kind.
    Map(Kind),
}

impl What {
    fn of(field: &FieldDescriptor) -> Self {
        match field.kind() {
            Kind::Message(entry) if field.is_map() => Self::Map(entry.map_entry_value_field().kind()),
            kind if field.is_list() => Self::List(kind),
            kind => Self::One(kind),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |f: &mut fmt::Formatter<'_>, least: i128, most: i128| {
            write!(f, "a whole number from {least} to {most}")
        };
        let kind = match self {
            Self::One(kind) => kind,
            Self::List(_) => return f.write_str("a list"),
            Self::Map(_) => return f.write_str("an object"),
        };
        match kind {
            Kind::Double | Kind::Float => f.write_str("a number"),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => whole(f, i32::MIN.into(), i32::MAX.into()),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => whole(f, i64::MIN.into(), i64::MAX.into()),
            Kind::Uint32 | Kind::Fixed32 => whole(f, 0, u32::MAX.into()),
            Kind::Uint64 | Kind::Fixed64 => whole(f, 0, u64::MAX.into()),
            Kind::Bool => f.write_str("true or false"),
            Kind::String => f.write_str("a text"),
            Kind::Bytes => f.write_str("a text in base64"),
            Kind::Message(_) => f.write_str("an object"),
            Kind::Enum(names) => write!(f, "one of {}", listed(names)),
        }
    }
}

fn listed(names: &EnumDescriptor) -> String {
    names.values().map(|value| value.name().to_owned()).collect::<Vec<_>>().join(", ")
}

/// A value under way; null is `None`.
struct Here<'a> {
    place: &'a mut Place,
    what: What,
}

impl Here<'_> {
    fn refuse<T, E: Error>(self, found: impl Into<String>) -> Result<T, E> {
        Err(self.place.wrong("INVALID_FIELD", self.what.to_string(), found))
    }

    fn number<E: Error>(self, number: i128) -> Result<Option<Value>, E> {
        let value = match &self.what {
            What::One(kind) => whole(kind, number),
            What::List(_) | What::Map(_) => None,
        };
        value.map_or_else(|| self.refuse(number.to_string()), |value| Ok(Some(value)))
    }
}

/// A whole number as this kind has it; `None` if it does not.
fn whole(kind: &Kind, number: i128) -> Option<Value> {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => number.try_into().ok().map(Value::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => number.try_into().ok().map(Value::I64),
        Kind::Uint32 | Kind::Fixed32 => number.try_into().ok().map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => number.try_into().ok().map(Value::U64),
        // Whether the number is one of the enum's is for the handler to say, as over gRPC.
        Kind::Enum(_) => number.try_into().ok().map(Value::EnumNumber),
        Kind::Double | Kind::Float => broken(kind, number as f64),
        Kind::Bool | Kind::String | Kind::Bytes | Kind::Message(_) => None,
    }
}

/// The same of a number with a fraction, or one too large to be whole.
fn broken(kind: &Kind, number: f64) -> Option<Value> {
    match kind {
        Kind::Double => Some(Value::F64(number)),
        Kind::Float => {
            let narrow = number as f32;
            (narrow.is_finite() || !number.is_finite()).then_some(Value::F32(narrow))
        }
        _ if number.fract() == 0.0 && number.abs() <= EXACT_MAX => whole(kind, number as i128),
        _ => None,
    }
}

/// The same of a text.
fn spelled(kind: &Kind, text: &str) -> Option<Value> {
    match (kind, text) {
        (Kind::String, _) => Some(Value::String(text.to_owned())),
        (Kind::Bytes, _) => {
            let decoded = STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text));
            decoded.ok().map(|bytes| Value::Bytes(bytes.into()))
        }
        (Kind::Enum(names), _) => {
            names.get_value_by_name(text).map(|value| Value::EnumNumber(value.number()))
        }
        (Kind::Double | Kind::Float, "NaN") => broken(kind, f64::NAN),
        (Kind::Double | Kind::Float, "Infinity") => broken(kind, f64::INFINITY),
        (Kind::Double | Kind::Float, "-Infinity") => broken(kind, f64::NEG_INFINITY),
        _ if text.trim() != text => None,
        _ => {
            // What JSON itself would take as a number.
            let number: serde_json::Number = serde_json::from_str(text).ok()?;
            match (number.as_i128(), number.as_f64()) {
                (Some(number), _) => whole(kind, number),
                (None, Some(number)) => broken(kind, number),
                (None, None) => None,
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Here<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Here<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Option<Value>, E> {
        match self.what {
            What::One(Kind::Bool) => Ok(Some(Value::Bool(value))),
            _ => self.refuse(value.to_string()),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<Value>, E> {
        self.number(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Option<Value>, E> {
        self.number(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Option<Value>, E> {
        let value = match &self.what {
            What::One(kind) => broken(kind, number),
            What::List(_) | What::Map(_) => None,
        };
        value.map_or_else(|| self.refuse(number.to_string()), |value| Ok(Some(value)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<Value>, E> {
        let value = match &self.what {
            What::One(kind) => spelled(kind, text),
            What::List(_) | What::Map(_) => None,
        };
        match (value, &self.what) {
            (Some(value), _) => Ok(Some(value)),
            (None, What::One(Kind::Enum(_))) => {
                Err(self.place.wrong("UNKNOWN_ENUM_VALUE", self.what.to_string(), shown(text)))
            }
            _ => self.refuse(shown(text)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<Value>, A::Error> {
        let What::List(kind) = self.what else { return self.refuse("a list") };
        let mut list = Vec::new();
        loop {
            let before = self.place.enter_item(list.len());
            let here = Here { place: &mut *self.place, what: What::One(kind.clone()) };
            match items.next_element_seed(here)? {
                Some(Some(value)) => list.push(value),
                Some(None) => {
                    return Err(self.place.wrong("INVALID_FIELD", What::One(kind).to_string(), "null"));
                }
                None => {
                    self.place.leave(before);
                    return Ok(Some(Value::List(list)));
                }
            }
            self.place.leave(before);
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Option<Value>, A::Error> {
        match &self.what {
            What::One(Kind::Message(descriptor)) => {
                message(self.place, descriptor, fields).map(|message| Some(Value::Message(message)))
            }
            What::Map(kind) => map(self.place, kind, fields).map(Some),
            _ => self.refuse("an object"),
        }
    }
}

fn message<'de, A: MapAccess<'de>>(
    place: &mut Place,
    descriptor: &MessageDescriptor,
    mut fields: A,
) -> Result<DynamicMessage, A::Error> {
    let mut message = DynamicMessage::new(descriptor.clone());
    let mut seen = Vec::new();
    while let Some(name) = fields.next_key::<String>()? {
        let known = descriptor.get_field_by_json_name(&name).or_else(|| descriptor.get_field_by_name(&name));
        let Some(field) = known else {
            place.enter(&name.chars().take(NAME_CHARS_MAX).collect::<String>());
            let expected = format!("a field of {}", descriptor.full_name());
            return Err(place.wrong("UNKNOWN_FIELD", expected, "another one"));
        };
        let before = place.enter(field.json_name());
        if seen.contains(&field.number()) {
            return Err(place.wrong("INVALID_FIELD", "the field once", "it twice"));
        }
        seen.push(field.number());
        let value = fields.next_value_seed(Here { place, what: What::of(&field) })?;
        if let Some(value) = value {
            if let Some(other) = rival(&message, &field) {
                let expected = format!("one of {} and {}", other.json_name(), field.json_name());
                return Err(place.wrong("INVALID_FIELD", expected, "both"));
            }
            message.set_field(&field, value);
        }
        place.leave(before);
    }
    Ok(message)
}

/// A field that is set and excludes this one.
fn rival(message: &DynamicMessage, field: &FieldDescriptor) -> Option<FieldDescriptor> {
    field.containing_oneof()?.fields().find(|other| message.has_field(other))
}

fn map<'de, A: MapAccess<'de>>(place: &mut Place, kind: &Kind, mut entries: A) -> Result<Value, A::Error> {
    let mut map = std::collections::HashMap::new();
    while let Some(name) = entries.next_key::<String>()? {
        let before = place.enter(&name.chars().take(NAME_CHARS_MAX).collect::<String>());
        let here = Here { place: &mut *place, what: What::One(kind.clone()) };
        let Some(value) = entries.next_value_seed(here)? else {
            return Err(place.wrong("INVALID_FIELD", What::One(kind.clone()).to_string(), "null"));
        };
        if map.insert(MapKey::String(name), value).is_some() {
            return Err(place.wrong("INVALID_FIELD", "the name once", "it twice"));
        }
        place.leave(before);
    }
    Ok(Value::Map(map))
}
