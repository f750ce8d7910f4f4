//! Examples of requests, from comments that say `e.g. "tea"`.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use super::comments::Comments;

/// Messages within each other; one may contain itself.
const DEPTH_MAX: usize = 8;

/// A message of what its fields' comments show, and of nothing else.
pub(super) fn of(message: &MessageDescriptor, comments: &mut Comments) -> Value {
    Value::Object(object(message, comments, DEPTH_MAX))
}

fn object(message: &MessageDescriptor, comments: &mut Comments, depth: usize) -> Map<String, Value> {
    let mut shown = Map::new();
    let mut chosen = Vec::new();
    for field in message.fields() {
        let oneof = field.containing_oneof().map(|oneof| oneof.full_name().to_owned());
        if oneof.as_ref().is_some_and(|oneof| chosen.contains(oneof)) {
            continue;
        }
        if let Some(value) = value(&field, comments, depth) {
            chosen.extend(oneof);
            shown.insert(field.json_name().to_owned(), value);
        }
    }
    shown
}

fn value(field: &FieldDescriptor, comments: &mut Comments, depth: usize) -> Option<Value> {
    let one = match field.kind() {
        _ if field.is_map() => None,
        Kind::Message(message) => {
            let shown = (depth > 0).then(|| object(&message, comments, depth - 1))?;
            (!shown.is_empty()).then_some(Value::Object(shown))
        }
        kind => text(&kind, &comments.of(&field.parent_message().parent_file(), field.path())?),
    };
    if field.is_list() { one.map(|one| Value::Array(vec![one])) } else { one }
}

/// What a comment shows of a value of this kind.
pub(super) fn text(kind: &Kind, about: &str) -> Option<Value> {
    let (_, after) = about.split_once("e.g. \"")?;
    let text = after.split('"').next()?;
    match kind {
        Kind::Bool | Kind::Double | Kind::Float => serde_json::from_str(text).ok(),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 | Kind::Uint32 | Kind::Fixed32 => {
            serde_json::from_str(text).ok()
        }
        _ => Some(text.into()),
    }
}
