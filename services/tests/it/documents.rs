//! The documents in `docs/api` against the running server.
//!
//! `ONRUSH_BLESS=1 cargo test -p onrush-services --test it documents` writes them anew.

use std::path::PathBuf;

use onrush_services::access::{Call, Need, Permission, Role, Scope};
use onrush_services::config::Service;
use onrush_services::reason::REASONS;

use crate::shop::Shop;

/// Asserts that a document of `docs/api` reads like this.
fn assert_document(name: &str, expected: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/api").join(name);
    if std::env::var_os("ONRUSH_BLESS").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert!(found == expected, "docs/api/{name} is not what is served, from {differs:?} on");
}

#[tokio::test]
async fn every_port_serves_the_document_that_is_checked_in() {
    let shop = Shop::open_with(|config| config.services = Service::ALL.map(|service| (service, 0)).to_vec());
    for service in Service::ALL {
        let address = shop.address(service);
        let answer = reqwest::get(format!("{address}/openapi.json")).await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/json");
        let document: serde_json::Value = answer.json().await.unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1."), "{document}");
        let paths = document["paths"].as_object().unwrap().values();
        let calls = paths.flat_map(|path| path.as_object().unwrap().values());
        let mut names: Vec<&str> = calls.map(|call| call["operationId"].as_str().unwrap()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "an operationId stands there twice: {names:?}");
        let text = format!("{}\n", serde_json::to_string_pretty(&document).unwrap());
        assert_document(&format!("{}.openapi.json", service.name()), &text);
    }
}

#[tokio::test]
async fn the_pages_of_docs_load_nothing_from_elsewhere() {
    let shop = Shop::open_with(|config| config.services = Service::ALL.map(|service| (service, 0)).to_vec());
    for service in Service::ALL {
        let address = shop.address(service);
        let page = reqwest::get(format!("{address}/docs")).await.unwrap();
        assert!(page.url().path().ends_with("/docs/"), "{}", page.url());
        let page = page.text().await.unwrap();
        assert!(!names_a_host(&page), "{page}");
        let sources: Vec<&str> = page
            .split(['"', '\''])
            .filter(|text| [".js", ".css", ".png"].iter().any(|end| text.ends_with(end)))
            .collect();
        assert!(sources.len() > 4, "{page}");
        for source in sources {
            assert!(source.starts_with("./") || !source.contains('/'), "{source}");
            let url = format!("{address}/docs/{}", source.trim_start_matches("./"));
            let file = reqwest::get(url).await.unwrap();
            assert_eq!(file.status(), 200, "{source}");
            if source.ends_with(".css") {
                let sheet = file.text().await.unwrap();
                let mut loaded = sheet.split("url(").skip(1).chain(sheet.split("@import").skip(1));
                assert!(
                    loaded.all(|what| what.trim_start_matches(['"', '\'']).starts_with("data:")),
                    "{source}"
                );
            }
        }
        // The script that says what is shown: this port's own document, and no validator on the net.
        let settings = reqwest::get(format!("{address}/docs/swagger-initializer.js")).await.unwrap();
        let settings = settings.text().await.unwrap();
        assert!(settings.contains("\"/openapi.json\"") && settings.contains("\"none\""), "{settings}");
        assert!(!names_a_host(&settings), "{settings}");
        // Neither does the document send anybody elsewhere.
        let document = reqwest::get(format!("{address}/openapi.json")).await.unwrap();
        let document: serde_json::Value = document.json().await.unwrap();
        assert_eq!(document.get("servers"), None, "calls go to where the document came from");
        assert!(!document.to_string().contains("\"$ref\":\"http"), "a schema from elsewhere");
    }
}

/// True if a text has a URL with a host.
fn names_a_host(text: &str) -> bool {
    let schemes = ["http:", "https:", "=\"//", "='//", "(\"//", "('//"];
    schemes.iter().any(|scheme| text.contains(scheme))
}

#[test]
fn the_table_of_calls_is_checked_in() {
    let mut text = String::from(
        "# Access\n\nWhat each call needs of its caller, whatever edge it comes in by. Made of \
         `services/src/access/call.rs` and\n`services/src/access/role.rs` by `ONRUSH_BLESS=1 cargo test -p \
         onrush-services --test it documents`.\n\nA caller is the user of an access token (`Authorization: Bearer`, \
         a header over HTTP, metadata over gRPC). `own` means:\nany user, for what is their own; for what is \
         others' the permission behind it. Somebody else's object looks as if it\nwere not there; a `customer_id` \
         left out is the caller's, and one that names somebody else is refused as `FORBIDDEN`.\nA \
         program that acts for nobody (client credentials) is a caller with the roles that it was registered with: nothing is \
         its own, so it needs the\npermission, and names whom it is about; under a scope it keeps to the calls of that. \
         A session (`onrush.session.v1`) and a native connection show their token once; whoever opens one brings a token where tokens are \
         wanted, and each call in it needs what its row says. A subscription to a topic (`onrush.log.v1`) needs the permission to read what the topic is of, of everybody, as `docs/events.md` has it, and for a group Operate. Health, \
         `/metrics`, reflection, `/openapi.json`, `/docs`, the key set, registration, login and signed links and pushes need \
         nothing.\n\nWithout tokens (`ACCESS=open`, the default while listening on loopback without \
         `JWT_SECRET`) whoever brings none is the\noperator and may do everything; who brings one is held to \
         it. The user service asks for tokens in any case.\n\n| permission | roles |\n|---|---|\n",
    );
    for permission in Permission::ALL {
        let roles = Role::ALL.into_iter().filter(|role| role.permissions().contains(&permission));
        let roles: Vec<&str> = roles.map(Role::name).collect();
        text.push_str(&format!("| {permission:?} | {} |\n", roles.join(", ")));
    }
    text.push_str(
        "\nA program that a user granted a scope (`services/src/access/scope.rs`) makes the calls of that scope, for \
         what is the\nuser's own; what needs a permission it does as far as the user's role permits. Calls without a \
         scope are not for\nprograms.\n",
    );
    text.push_str("\n| call | needs | scope for programs |\n|---|---|---|\n");
    for call in Call::ALL {
        let need = match call.need() {
            Need::Nothing => "nothing".to_owned(),
            Need::Account => "any user".to_owned(),
            Need::Own(permission) => format!("own, or {permission:?}"),
            Need::Visitor(permission) => format!("nothing for what is nobody's; own, or {permission:?}"),
            Need::Permission(permission) => format!("{permission:?}"),
        };
        let scope = call.scope().map_or("-", Scope::name);
        text.push_str(&format!("| {}/{} | {need} | {scope} |\n", call.service(), call.name()));
    }
    assert_document("access.md", &text);
}

#[test]
fn the_table_of_reasons_is_checked_in() {
    let mut text = String::from(
        "# Reasons\n\nThe stable names of what a call can be refused for, with what gRPC and HTTP say. Over gRPC the \
         name is in\n`google.rpc.ErrorInfo`, over HTTP in `reason` of the problem (RFC 9457). Made of \
         `services/src/reason.rs` by\n`ONRUSH_BLESS=1 cargo test -p onrush-services --test it documents`.\n\n\
         | reason | gRPC | HTTP | meaning |\n|---|---|---|---|\n",
    );
    for reason in REASONS {
        let row = format!("| {} | {:?} | {} | {} |\n", reason.name, reason.grpc, reason.http, reason.title);
        text.push_str(&row);
    }
    text.push_str(
        "\n`NOT_LEADER` has two facts, `leader`, the number of the node that leads, and `leader_address`, `host:port` of the port of the \
         same service\nthere; each is left out where it is not known. They stand in the metadata of `ErrorInfo`, in `facts` of a \
         problem and in `facts` of a session's\n`Failure`. Ask again there under the same key, or at any other node while nobody \
         is known to lead. Over HTTP it is no redirect: a client that\nfollows one may make another call of it, without its \
         body or its `Idempotency-Key`. `Retry-After` is 0 where the leader is known, and 1 while\nnodes vote.\n",
    );
    assert_document("reasons.md", &text);
}
