//! A handler's refusal as a problem, with its fields under their names in JSON.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::http::{FieldProblem, Problem};
use crate::reason::{INTERNAL, reason};
use crate::unread::Unread;

/// The same with a reason, if it is the transport's own.
pub(super) fn reasoned(status: Status) -> Status {
    match status.details().is_empty() {
        true => Unread::of(&status).map_or(status, Status::from),
        false => status,
    }
}

/// The same refusal over HTTP.
pub(super) fn problem(status: &Status) -> Problem {
    let details = status.get_error_details();
    let name = details.error_info().map_or(name_of(status.code()), |info| info.reason.as_str());
    let fields = fields(&details, status.message());
    // The message begins with the path of the field that it is about.
    let detail = fields.first().map_or(status.message().to_owned(), |field| field.detail.clone());
    let facts = details.error_info().map(|info| info.metadata.clone()).unwrap_or_default();
    let wait = details.retry_info().and_then(|info| info.retry_delay);
    Problem {
        errors: fields,
        facts: facts.into_iter().collect(),
        retry_after_ms: wait.map(|wait| wait.as_millis() as u64),
        ..Problem::of(reason(name), detail)
    }
}

/// What a status says that names no reason.
fn name_of(code: Code) -> &'static str {
    match code {
        Code::NotFound => "NOT_FOUND",
        Code::DeadlineExceeded | Code::Cancelled => "DEADLINE_EXCEEDED",
        _ => INTERNAL,
    }
}

fn fields(details: &ErrorDetails, message: &str) -> Vec<FieldProblem> {
    let violations = details.bad_request().map(|request| request.field_violations.as_slice());
    let field = |path: &str| {
        let field = json_path(path);
        let detail = match message.strip_prefix(path) {
            Some(rest) => format!("{field}{rest}"),
            None => message.to_owned(),
        };
        FieldProblem { field, detail }
    };
    violations.unwrap_or_default().iter().map(|violation| field(&violation.field)).collect()
}

/// `lines[3].max_unit_price` as `lines[3].maxUnitPrice`; the name of a header stays.
fn json_path(path: &str) -> String {
    let mut camel = String::with_capacity(path.len());
    let mut upper = false;
    for each in path.chars() {
        match each {
            '_' => upper = true,
            _ if upper => {
                camel.push(each.to_ascii_uppercase());
                upper = false;
            }
            _ => camel.push(each),
        }
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::FieldError;

    #[test]
    fn a_refusal_keeps_its_reason_and_its_field_gets_its_name_in_json() {
        let error = FieldError::invalid("lines[3].max_unit_price", "a price", "-1");
        let found = problem(&error.into());
        assert_eq!((found.status, found.reason), (400, "INVALID_FIELD"));
        assert_eq!(found.detail, "lines[3].maxUnitPrice: expected a price, found -1");
        let fields = [FieldProblem { field: "lines[3].maxUnitPrice".into(), detail: found.detail.clone() }];
        assert_eq!(found.errors, fields);
    }

    #[test]
    fn a_status_without_a_reason_has_one_of_the_table() {
        let table = [
            (Status::not_found("service not registered"), "NOT_FOUND"),
            (Status::unimplemented(""), "UNKNOWN_METHOD"),
            (Status::unknown("what"), "INTERNAL"),
        ];
        for (status, reason) in table {
            assert_eq!(problem(&reasoned(status)).reason, reason);
        }
    }
}
