use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use serde::Deserialize;
use tonic::codegen::Service as _;

use super::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Name {
    name: String,
}

/// A router with what the edge gives, and one route that says a name back.
fn edge() -> Router {
    let hello = |key: IdempotencyKey, Json(body): Json<Name>| async move { Json((body.name, key.0)) };
    let version = |IfMatch(version): IfMatch| async move { (Etag(version + 1), "done") };
    Router::new()
        .route("/hello", axum::routing::post(hello))
        .route("/version", axum::routing::put(version))
        .fallback(unknown_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(map_response(plain_types))
        .layer(from_fn_with_state(Traces::default(), correlation::correlate))
}

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: serde_json::Value,
}

async fn ask(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = edge().call(request.body(body.into()).unwrap()).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or_default() }
}

const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

#[tokio::test]
async fn what_cannot_be_read_is_a_problem_with_reason_and_field() {
    let megabyte = format!("{{\"name\":\"{}\"}}", "x".repeat(1 << 20));
    type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str, Option<&'a str>);
    let table: [Row<'_>; 9] = [
        ("POST", "/nowhere", &[JSON], "{}", 404, "UNKNOWN_PATH", None),
        ("GET", "/hello", &[], "", 405, "METHOD_NOT_ALLOWED", None),
        ("POST", "/hello", &[], "{}", 415, "UNSUPPORTED_MEDIA_TYPE", Some("Content-Type")),
        (
            "POST",
            "/hello",
            &[("content-type", "text/json")],
            "{}",
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            Some("Content-Type"),
        ),
        (
            "POST",
            "/hello",
            &[JSON, ("content-encoding", "gzip")],
            "{}",
            415,
            "UNSUPPORTED_ENCODING",
            Some("Content-Encoding"),
        ),
        ("POST", "/hello", &[JSON], &megabyte, 413, "MESSAGE_TOO_LARGE", None),
        ("POST", "/hello", &[JSON], "{\"name\":3}", 400, "INVALID_FIELD", Some("name")),
        (
            "POST",
            "/hello",
            &[JSON, ("idempotency-key", "")],
            "{\"name\":\"a\"}",
            400,
            "INVALID_FIELD",
            Some("Idempotency-Key"),
        ),
        ("PUT", "/version", &[], "", 428, "PRECONDITION_REQUIRED", Some("If-Match")),
    ];
    for (method, path, headers, body, status, reason, field) in table {
        let answer = ask(method, path, headers, body.to_owned()).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!((&answer.body["reason"], &answer.body["status"]), (&reason.into(), &status.into()));
        assert_eq!(answer.body["type"], format!("urn:onrush:reason:{reason}"));
        assert_eq!(answer.body["errors"][0]["field"].as_str(), field, "{}", answer.body);
    }
}

#[tokio::test]
async fn a_body_without_a_stated_length_is_bounded_too() {
    let pieces = (0..100).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1_000]));
    let answer = ask("POST", "/hello", &[JSON], Body::from_stream(tokio_stream::iter(pieces))).await;
    assert_eq!((answer.status.as_u16(), &answer.body["reason"]), (413, &"MESSAGE_TOO_LARGE".into()));
}

#[tokio::test]
async fn ids_that_came_are_said_back_and_others_are_made() {
    let body = "{\"name\":\"ada\"}";
    let given = [JSON, ("x-request-id", "r-1"), ("x-correlation-id", "c-1"), ("idempotency-key", "k")];
    let answer = ask("POST", "/hello", &given, body).await;
    assert_eq!(
        (&answer.headers["x-request-id"], &answer.headers["x-correlation-id"]),
        (&"r-1".parse().unwrap(), &"c-1".parse().unwrap())
    );
    assert_eq!(answer.body, serde_json::json!(["ada", "k"]));
    let long = "x".repeat(129);
    for strange in ["", "two words", &long] {
        let answer = ask("POST", "/nowhere", &[("x-request-id", strange)], "").await;
        let made = answer.headers["x-request-id"].to_str().unwrap();
        assert_eq!((made.len(), &answer.headers["x-correlation-id"]), (36, &answer.headers["x-request-id"]));
    }
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn versions_go_out_as_etags_and_come_back_as_if_match() {
    let answer = ask("PUT", "/version", &[("if-match", "\"v7\"")], "").await;
    assert_eq!((answer.status.as_u16(), &answer.headers["etag"]), (200, &"\"v8\"".parse().unwrap()));
    for tag in ["*", "W/\"v7\"", "v7", "\"v7\", \"v8\"", "\"v\"", "\"v-1\"", "\"v99999999999999999999\""] {
        let answer = ask("PUT", "/version", &[("if-match", tag)], "").await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["reason"]),
            (412, &"VERSION_MISMATCH".into()),
            "{tag}"
        );
    }
}

/// No redirect: who follows one may make another call of it, without its body or its key.
#[tokio::test]
async fn who_does_not_lead_says_where_to_ask_again() {
    let nodes = crate::nodes::Nodes::default();
    nodes.replace(1, [(2, "user=b:1".parse().unwrap())]).unwrap();
    let signpost = Signpost::new(nodes, Service::User);
    let refused = |leader: u64| async move { Rejection::from(onrush_proto::Refusal::NotLeader { leader }) };
    let mut router = Router::new()
        .route("/two", axum::routing::post(move || refused(2)))
        .route("/nobody", axum::routing::post(move || refused(0)))
        .layer(map_response_with_state(signpost, problem::led));
    for (path, wait, facts) in [
        ("/two", "0", serde_json::json!({"leader": "2", "leader_address": "b:1"})),
        ("/nobody", "1", serde_json::Value::Null),
    ] {
        let request = Request::post(path).body(Body::empty()).unwrap();
        let response = router.call(request).await.unwrap();
        assert_eq!(
            (response.status(), &response.headers()["retry-after"]),
            (StatusCode::SERVICE_UNAVAILABLE, &HeaderValue::from_static(wait))
        );
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert!(!response.headers().contains_key("location"));
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&body["reason"], &body["facts"]), (&"NOT_LEADER".into(), &facts));
    }
}
