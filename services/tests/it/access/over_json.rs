//! The same calls in JSON: what is somebody else's is not there, and nobody says who they are, what they are or what a
//! thing costs in the body of a request.

use onrush_grpc::DESCRIPTORS;
use onrush_services::access::{Call, Need, Role};
use onrush_services::config::Service;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, Value as Field};
use serde_json::{Value, json};

use super::Street;
use super::message::Belongings;

/// What a caller is told who may not touch what is there.
const NOT_THERE: [&str; 5] =
    ["UNKNOWN_ORDER", "UNKNOWN_SHIPMENT", "UNKNOWN_ADDRESS", "UNKNOWN_CONTACT", "FORBIDDEN"];

/// What a caller may wish the body would decide.
const CLAIMS: [(&str, &str); 8] = [
    ("role", "admin"),
    ("roles", "admin"),
    ("isAdmin", "true"),
    ("userId", "bob"),
    ("user_id", "bob"),
    ("price", "1"),
    ("unitPrice", "1"),
    ("total", "1"),
];

/// What was answered, without what tells one object from another.
#[derive(PartialEq, Debug)]
struct Answer {
    status: u16,
    reason: String,
    detail: String,
    field: String,
}

/// The message that a call takes.
fn input(call: Call) -> MessageDescriptor {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let service = pool.get_service_by_name(call.service()).unwrap();
    let method = service.methods().find(|method| method.name() == call.name()).unwrap();
    method.input()
}

/// The message of a call about somebody's things, as JSON.
fn body(call: Call, object: &Belongings) -> Value {
    json_of(&DynamicMessage::decode(input(call), object.message(call).as_slice()).unwrap())
}

fn json_of(message: &DynamicMessage) -> Value {
    let value = |value: &Field| match value {
        Field::Bool(truth) => json!(truth),
        Field::I32(number) | Field::EnumNumber(number) => json!(number),
        Field::U32(number) => json!(number),
        Field::I64(number) => json!(number.to_string()),
        Field::U64(number) => json!(number.to_string()),
        Field::String(text) => json!(text),
        Field::Message(message) => json_of(message),
        other => panic!("no JSON for {other:?}"),
    };
    let fields = message.fields().map(|(field, found)| {
        let found = match found {
            Field::List(items) => items.iter().map(value).collect(),
            single => value(single),
        };
        (field.json_name().to_owned(), found)
    });
    Value::Object(fields.collect())
}

impl Street {
    async fn in_json(&self, call: Call, token: Option<&str>, object: &Belongings, body: &Value) -> Answer {
        // The admin service stands beside each.
        let of = Service::ALL.into_iter().find(|service| service.grpc_name() == call.service());
        let address = self.shop.address(of.unwrap_or(Service::Order));
        let mut request = self.http.post(format!("{address}/{}/{}", call.service(), call.name())).json(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Answer {
            status,
            reason: text(&body["reason"]),
            detail: object.hidden_in(&text(&body["detail"])),
            field: text(&body["errors"][0]["field"]),
        }
    }
}

#[tokio::test]
async fn what_is_somebody_elses_is_not_there_in_json_either() {
    let street = Street::open().await;
    street.stock("tea").await;
    let (own, foreign) =
        (street.somebody("ada", Role::Customer).await, street.somebody("bob", Role::Customer).await);
    let missing = Belongings::missing();
    let ada = street.token("ada", &[Role::Customer]);
    let mut looked_at = 0;
    // What the user service answers has tests of its own: its callers have accounts.
    for call in Call::ALL.iter().filter(|call| call.service() != "onrush.user.v1.UserService") {
        let ask = async |token: Option<&str>, object: &Belongings| {
            street.in_json(*call, token, object, &body(*call, object)).await
        };
        let bearer = Some(ada.as_str());
        let (there, none, mine) =
            (ask(bearer, &foreign).await, ask(bearer, &missing).await, ask(bearer, &own).await);
        let case = format!("{call:?}: other's {there:?}, none {none:?}, own {mine:?}");
        match call.need() {
            Need::Own(_) | Need::Visitor(_) => {
                assert_eq!(there, none, "{case}");
                assert!([403, 404].contains(&there.status), "{case}");
                assert!(NOT_THERE.contains(&there.reason.as_str()), "{case}");
                assert!(mine.status != 401 && !NOT_THERE.contains(&mine.reason.as_str()), "{case}");
                let nobody = ask(None, &foreign).await;
                assert_eq!((nobody.status, nobody.field.as_str()), (401, "Authorization"), "{case}");
                looked_at += 1;
            }
            Need::Permission(_) => {
                let forbidden = [&there, &none, &mine].map(|answer| (answer.status, answer.reason.as_str()));
                assert_eq!(forbidden, [(403, "FORBIDDEN"); 3], "{case}");
            }
            Need::Nothing | Need::Account => {}
        }
    }
    assert!(looked_at >= 20, "orders, payments, parcels, news and preferences: {looked_at}");
}

#[tokio::test]
async fn neither_role_nor_user_nor_price_come_with_the_body_of_a_call() {
    let street = Street::open().await;
    street.stock("tea").await;
    let own = street.somebody("ada", Role::Customer).await;
    let ada = street.token("ada", &[Role::Customer]);
    for call in Call::ALL {
        let known = input(*call);
        let known =
            |name: &str| known.fields().any(|field| field.json_name() == name || field.name() == name);
        for (claim, value) in CLAIMS.into_iter().filter(|(claim, _)| !known(claim)) {
            let mut body = body(*call, &own);
            body[claim] = json!(value);
            let answer = street.in_json(*call, Some(&ada), &own, &body).await;
            let found = (answer.status, answer.reason.as_str(), answer.field.as_str());
            assert_eq!(found, (400, "UNKNOWN_FIELD", claim), "{call:?}: {answer:?}");
        }
    }
    // The price of a line is the catalogue's.
    for claim in ["price", "unitPrice", "amount"] {
        let line = json!({"sku": "tea", "quantity": "1", claim: "1"});
        let answer = street.in_json(Call::CreateOrder, Some(&ada), &own, &json!({"lines": [line]})).await;
        let found = (answer.status, answer.reason.as_str(), answer.field);
        assert_eq!(found, (400, "UNKNOWN_FIELD", format!("lines[0].{claim}")));
    }
    let pays_less = json!({"orderId": own.order, "paymentMethod": "pm_card", "amount": {"minorUnits": "1"}});
    for call in [Call::ProcessPayment, Call::CreatePayment] {
        let answer = street.in_json(call, Some(&ada), &own, &pays_less).await;
        assert_eq!(
            (answer.status, answer.reason.as_str(), answer.field.as_str()),
            (400, "UNKNOWN_FIELD", "amount")
        );
    }
    let list = onrush_grpc::order::v1::ListOrdersRequest::default();
    let listed: onrush_grpc::order::v1::ListOrdersResponse = street.ask(Call::ListOrders, &ada, list).await;
    assert_eq!(listed.orders.len(), 1, "what was refused is not half done");
}

/// How a path of plain HTTP tells whose things it is about.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Whose {
    /// By the token alone.
    Bearer,
    /// The path names them.
    Named,
}

/// Every path of plain HTTP that needs a token.
const PATHS: [(&str, &str, Whose); 20] = [
    ("get", "/profile", Whose::Bearer),
    ("put", "/profile", Whose::Bearer),
    ("post", "/password", Whose::Bearer),
    ("post", "/login/oidc/link", Whose::Bearer),
    ("delete", "/login/oidc/link", Whose::Bearer),
    ("get", "/oauth2/userinfo", Whose::Bearer),
    ("post", "/oauth2/userinfo", Whose::Bearer),
    ("get", "/oauth2/grants", Whose::Bearer),
    ("delete", "/oauth2/grants/{client_id}", Whose::Bearer),
    ("post", "/rates", Whose::Bearer),
    ("get", "/oauth2/clients", Whose::Bearer),
    ("post", "/oauth2/clients", Whose::Bearer),
    ("get", "/oauth2/clients/{id}", Whose::Named),
    ("delete", "/oauth2/clients/{id}", Whose::Named),
    ("get", "/users", Whose::Named),
    ("get", "/users/{id}", Whose::Named),
    ("put", "/users/{id}/roles", Whose::Named),
    ("get", "/shipments/{shipment_id}", Whose::Named),
    ("get", "/orders/{order_id}/shipments", Whose::Named),
    ("get", "/track/{tracking_number}", Whose::Named),
];

/// A path about somebody's things.
fn filled(path: &str, object: &Belongings, account: &str) -> String {
    let path = path.replace("{id}", account).replace("{tracking_number}", &object.tracking_number);
    let path = path.replace("{shipment_id}", &object.order).replace("{order_id}", &object.order);
    if path == "/users" { format!("/users?email={}@example.com", object.customer) } else { path }
}

#[tokio::test]
async fn every_path_that_names_somebody_is_known_and_hides_them() {
    let street = Street::open().await;
    street.stock("tea").await;
    let account = async |name: &str| {
        let account = json!({"email": format!("{name}@example.com"), "password": "correct horse battery", "name": name});
        let url = |path: &str| format!("{}{path}", street.shop.address(Service::User));
        let made: Value =
            street.http.post(url("/register")).json(&account).send().await.unwrap().json().await.unwrap();
        let login = json!({"email": account["email"], "password": account["password"]});
        let login: Value =
            street.http.post(url("/login")).json(&login).send().await.unwrap().json().await.unwrap();
        (made["id"].as_str().unwrap().to_owned(), login["access_token"].as_str().unwrap().to_owned())
    };
    let (_, ada) = account("ada").await;
    let (bobs_id, _) = account("bob").await;
    let (foreign, missing) = (street.somebody("bob", Role::Customer).await, Belongings::missing());
    let nobodys_id = "00000000-0000-4000-8000-000000000000";
    let mut known = Vec::new();
    for service in Service::ALL {
        let address = street.shop.address(service);
        let document: Value =
            reqwest::get(format!("{address}/openapi.json")).await.unwrap().json().await.unwrap();
        for (path, calls) in document["paths"].as_object().unwrap() {
            for method in calls.as_object().unwrap().keys() {
                let open = super::over_http::OPEN.contains(&(method.as_str(), path.as_str()));
                if open || path.contains(".v1.") {
                    continue;
                }
                let row = PATHS.iter().find(|row| (row.0, row.1) == (method.as_str(), path.as_str()));
                let row = row.unwrap_or_else(|| panic!("whose things are {method} {path} about?"));
                known.push((row.0, row.1));
                if row.2 == Whose::Bearer {
                    continue;
                }
                let ask = async |object: &Belongings, id: &str| {
                    let method = method.to_uppercase().parse().unwrap();
                    let request =
                        street.http.request(method, format!("{address}{}", filled(path, object, id)));
                    let request = request.bearer_auth(&ada).header("if-match", "\"v1\"");
                    let answer = request.json(&json!({"roles": ["admin"]})).send().await.unwrap();
                    let status = answer.status().as_u16();
                    let body: Value = answer.json().await.unwrap();
                    let detail =
                        object.hidden_in(&body["detail"].as_str().unwrap_or_default().replace(id, "X"));
                    (status, body["reason"].clone(), detail)
                };
                let (there, none) = (ask(&foreign, &bobs_id).await, ask(&missing, nobodys_id).await);
                assert_eq!(there, none, "{method} {path}");
                assert!([403, 404].contains(&there.0), "{method} {path}: {there:?}");
            }
        }
    }
    assert_eq!(known.len(), PATHS.len(), "no document has the rest: {known:?}");
}

#[tokio::test]
async fn neither_role_nor_user_come_with_a_body_over_http() {
    let street = Street::open().await;
    let (user, shipping) = (street.shop.address(Service::User), street.shop.address(Service::Shipping));
    let account = json!({"email": "eve@example.com", "password": "correct horse battery", "name": "Eve"});
    let post = async |url: String, token: &str, body: &Value| {
        let request = street.http.post(url).bearer_auth(token).json(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap_or_default())
    };
    assert_eq!(post(format!("{user}/register"), "", &account).await.0, 201);
    let login = json!({"email": "eve@example.com", "password": "correct horse battery"});
    let (_, tokens) = post(format!("{user}/login"), "", &login).await;
    let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].clone());
    let to = json!({"name": "Eve", "street": "Square 12", "city": "London", "country_code": "GB"});
    let again = json!({"email": "eve-2@example.com", "password": "correct horse battery", "name": "Eve"});
    let table = [
        (format!("{user}/register"), again),
        (format!("{user}/login"), login.clone()),
        (format!("{user}/refresh"), json!({"refresh_token": refresh})),
        (format!("{user}/logout"), json!({"refresh_token": refresh})),
        (
            format!("{user}/password"),
            json!({"current_password": "correct horse battery", "new_password": "another battery"}),
        ),
        (format!("{user}/password-reset"), json!({"email": "eve@example.com"})),
        (
            format!("{user}/password-reset/confirm"),
            json!({"token": "none", "new_password": "another battery"}),
        ),
        (format!("{shipping}/rates"), json!({"destination": to, "weight_grams": 500})),
    ];
    for (url, body) in &table {
        for claim in ["role", "roles", "id", "user_id", "customer_id", "price"] {
            let mut body = body.clone();
            body[claim] = json!("admin");
            let (status, answer) = post(url.clone(), access, &body).await;
            let found = (status, answer["reason"].as_str(), answer["errors"][0]["field"].as_str());
            assert_eq!(found, (400, Some("UNKNOWN_FIELD"), Some(claim)), "{url}: {answer}");
        }
    }
    for claim in ["role", "roles", "id", "user_id"] {
        let request =
            street.http.put(format!("{user}/profile")).bearer_auth(access).header("if-match", "\"v1\"");
        let answer = request.json(&json!({"name": "Eve", claim: "admin"})).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{claim}");
    }
    let profile = street.http.get(format!("{user}/profile")).bearer_auth(access).send().await.unwrap();
    let profile: Value = profile.json().await.unwrap();
    assert_eq!((&profile["roles"], &profile["name"]), (&json!(["customer"]), &json!("Eve")));
    assert_eq!(
        post(
            format!("{user}/login"),
            "",
            &json!({"email": "eve-2@example.com", "password": "correct horse battery"})
        )
        .await
        .0,
        401
    );
}
