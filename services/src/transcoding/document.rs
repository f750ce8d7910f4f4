//! The calls in OpenAPI, made from the descriptors: messages as schemas, comments as descriptions.
//!
//! A comment that says `e.g. "USD"` gives the field its example.

use std::collections::BTreeMap;

use prost_reflect::{
    EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, ServiceDescriptor,
};
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, Content, InfoBuilder, OpenApi, Paths, Ref, RefOr, Required, ResponseBuilder, ResponsesBuilder,
};

use super::comments::Comments;
use super::example;

const JSON: &str = "application/json";

/// Where a call is.
pub(super) fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// The document of these services' unary calls.
pub(super) fn document(services: &[ServiceDescriptor]) -> OpenApi {
    let mut paths = Paths::new();
    let mut schemas = Schemas::default();
    let mut tags = Vec::new();
    for service in services {
        let file = service.parent_file();
        let about = schemas.comments.of(&file, service.path());
        if !service.methods().any(|method| is_unary(&method)) {
            continue;
        }
        tags.push(TagBuilder::new().name(service.full_name()).description(about).build());
        for method in service.methods() {
            if !is_unary(&method) {
                continue;
            }
            schemas.add(&method.input());
            schemas.add(&method.output());
            let about = schemas.comments.of(&file, method.path());
            let operation = operation(&method, about, example::of(&method.input(), &mut schemas.comments));
            paths.add_path_operation(path(&method), vec![HttpMethod::Post], operation);
        }
    }
    let mut components = Components::new();
    components.schemas = schemas.done;
    let mut api = OpenApi::new(InfoBuilder::new().build(), paths);
    api.components = Some(components);
    api.tags = Some(tags);
    api
}

pub(super) fn is_unary(method: &MethodDescriptor) -> bool {
    !method.is_client_streaming() && !method.is_server_streaming()
}

fn operation(method: &MethodDescriptor, about: Option<String>, example: serde_json::Value) -> Operation {
    let problem = ResponseBuilder::new()
        .description("Refused, by a reason of docs/api/reasons.md")
        .content("application/problem+json", Content::new(Some(Ref::from_schema_name("Problem"))));
    let answer = ResponseBuilder::new()
        .description("Done")
        .content(JSON, Content::new(Some(Ref::from_schema_name(method.output().full_name()))));
    let mut shape = Content::new(Some(Ref::from_schema_name(method.input().full_name())));
    shape.example = Some(example);
    let body = RequestBodyBuilder::new().required(Some(Required::True)).content(JSON, shape);
    let operation = OperationBuilder::new()
        .tag(method.parent_service().full_name())
        .operation_id(Some(format!("{}.{}", method.parent_service().full_name(), method.name())))
        .description(about)
        .request_body(Some(body.build()))
        .responses(ResponsesBuilder::new().response("200", answer).response("default", problem))
        .parameter(header(
            "Connect-Timeout-Ms",
            "How long the caller waits.",
            ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(9_999_999_999_u64)),
        ))
        // Who must say who they are is for the call to say.
        .security(SecurityRequirement::new("bearer", Vec::<String>::new()))
        .security(SecurityRequirement::default());
    let key = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255));
    match method.input().get_field_by_name("request_id") {
        Some(_) => operation.parameter(header("Idempotency-Key", "The same as `requestId`.", key)).build(),
        None => operation.build(),
    }
}

fn header(name: &str, about: &str, schema: ObjectBuilder) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(schema))
}

/// Messages and enums with what they consist of.
#[derive(Default)]
struct Schemas {
    done: BTreeMap<String, RefOr<Schema>>,
    comments: Comments,
}

impl Schemas {
    fn add(&mut self, message: &MessageDescriptor) {
        let name = message.full_name();
        if self.done.contains_key(name) {
            return;
        }
        // A message may contain itself.
        self.done.insert(name.to_owned(), RefOr::Ref(Ref::from_schema_name(name)));
        let file = message.parent_file();
        let mut object = ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(self.comments.of(&file, message.path()))
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
        for field in message.fields() {
            let about = self.comments.of(&file, field.path());
            object = object.property(field.json_name(), self.field(&field, about));
        }
        self.done.insert(name.to_owned(), object.build().into());
    }

    fn add_enum(&mut self, names: &EnumDescriptor) {
        let file = names.parent_file();
        let mut about = self.comments.of(&file, names.path()).unwrap_or_default();
        for value in names.values() {
            if let Some(text) = self.comments.of(&file, value.path()) {
                about.push_str(&format!("\n- `{}`: {text}", value.name()));
            }
        }
        let known = names.values().map(|value| value.name().to_owned());
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(known.collect::<Vec<_>>()))
            .description(Some(about).filter(|about| !about.is_empty()));
        self.done.insert(names.full_name().to_owned(), schema.build().into());
    }

    fn field(&mut self, field: &FieldDescriptor, about: Option<String>) -> RefOr<Schema> {
        if let (Kind::Message(entry), true) = (field.kind(), field.is_map()) {
            let value = self.kind(&entry.map_entry_value_field().kind(), None);
            let map = ObjectBuilder::new().schema_type(Type::Object).description(about);
            return map.additional_properties(Some(AdditionalProperties::RefOr(value))).build().into();
        }
        if field.is_list() {
            let item = self.kind(&field.kind(), None);
            return ArrayBuilder::new().items(item).description(about).build().into();
        }
        self.kind(&field.kind(), about)
    }

    fn kind(&mut self, kind: &Kind, about: Option<String>) -> RefOr<Schema> {
        let named = |name: &str, about: Option<String>| {
            let mut named = Ref::from_schema_name(name);
            named.description = about.unwrap_or_default();
            RefOr::Ref(named)
        };
        match kind {
            Kind::Message(message) => {
                self.add(message);
                named(message.full_name(), about)
            }
            Kind::Enum(names) => {
                self.add_enum(names);
                named(names.full_name(), about)
            }
            _ => plain(kind, about),
        }
    }
}

/// A value without parts.
fn plain(kind: &Kind, about: Option<String>) -> RefOr<Schema> {
    let object = |kind| ObjectBuilder::new().schema_type(SchemaType::new(kind));
    let schema = match kind {
        Kind::Bool => object(Type::Boolean),
        Kind::Bytes => object(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::Byte))),
        Kind::Double | Kind::Float => object(Type::Number),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            object(Type::Integer).minimum(Some(i32::MIN)).maximum(Some(i32::MAX))
        }
        Kind::Uint32 | Kind::Fixed32 => object(Type::Integer).minimum(Some(0)).maximum(Some(u32::MAX)),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => long("int64").pattern(Some("^-?[0-9]{1,19}$")),
        Kind::Uint64 | Kind::Fixed64 => long("uint64").pattern(Some("^[0-9]{1,20}$")).minimum(Some(0)),
        Kind::String | Kind::Enum(_) | Kind::Message(_) => object(Type::String),
    };
    let shown = about.as_deref().and_then(|about| example::text(kind, about));
    let schema = schema.description(about);
    match shown {
        Some(shown) => schema.examples([shown]).build().into(),
        None => schema.build().into(),
    }
}

/// 64 bits: a text, as JSON's own numbers are exact up to 53 only; a number is read too.
fn long(format: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Integer]))
        .format(Some(SchemaFormat::Custom(format.into())))
}
