//! Programs that act for nobody: client credentials, under roles that an admin stated.

use onrush_services::config::Service;
use serde_json::{Value, json};

use super::super::attacks::part;
use super::program::{BACK, Program, guarded};
use super::{ALL, Answer, Site};

impl Site {
    /// What the admin's wish for a client comes to.
    async fn registered(&self, body: &Value) -> Answer {
        let admin = self.login("root@example.com").await.access;
        let request = self.request("POST", "/oauth2/clients").bearer_auth(admin).json(body);
        Answer::of(request.send().await.unwrap()).await
    }

    /// A client with these roles.
    async fn machine(&self, roles: &[&str], scope: &str) -> Program {
        let body = json!({"name": "Stock feed", "redirect_uris": [], "scope": scope, "confidential": true, "roles": roles});
        let answer = self.registered(&body).await;
        assert_eq!((answer.status, &answer.body["roles"]), (201, &json!(roles)), "{answer:?}");
        let text = |name: &str| answer.body[name].as_str().unwrap().to_owned();
        Program { id: text("client_id"), secret: Some(text("client_secret")) }
    }

    async fn for_itself(&self, program: &Program, scope: Option<&str>) -> (u16, Value) {
        let mut fields = vec![("grant_type", "client_credentials")];
        fields.extend(scope.map(|scope| ("scope", scope)));
        self.form("/oauth2/token", program, &fields).await
    }

    async fn token(&self, program: &Program, scope: Option<&str>) -> String {
        let (status, tokens) = self.for_itself(program, scope).await;
        assert_eq!(status, 200, "{tokens}");
        assert_eq!((&tokens["refresh_token"], &tokens["id_token"]), (&Value::Null, &Value::Null));
        assert_eq!(tokens["scope"], json!(scope));
        tokens["access_token"].as_str().unwrap().to_owned()
    }
}

const PUT: &str = "onrush.product.v1.ProductService/PutProduct";
const LIST: &str = "onrush.order.v1.OrderService/ListOrders";
const CREATE: &str = "onrush.order.v1.OrderService/CreateOrder";
const AUDIT: &str = "onrush.admin.v1.AdminService/Audit";
const GET_USER: &str = "onrush.user.v1.UserService/GetUser";

/// The same table as for people: what the roles permit, over others, and nothing of its own.
#[tokio::test]
async fn a_program_does_for_itself_what_its_roles_permit() {
    let site = Site::open_with(guarded);
    let ada = site.register("ada@example.com").await;
    let (merchant, support) =
        (site.machine(&["merchant"], "").await, site.machine(&["support"], "orders.read").await);
    let (sells, helps) = (site.token(&merchant, None).await, site.token(&support, None).await);
    let reads = site.token(&support, Some("orders.read")).await;
    let admin = site.machine(&["admin"], "").await;
    let operates = site.token(&admin, None).await;
    let claims = part(&sells, 1);
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(merchant.id), &json!(merchant.id)));
    assert_eq!((&claims["roles"], &claims["scope"]), (&json!(["merchant"]), &Value::Null));

    let product = json!({"sku": "tea", "name": "Tea", "price": {"minorUnits": "499", "currencyCode": "EUR"}});
    let hers = json!({"customerId": ada});
    let order = json!({"lines": [{"sku": "tea", "quantity": "1"}]});
    let user = json!({"userId": ada});
    let none = json!({});
    let (ok, forbidden, scope) = ("", "FORBIDDEN", "INSUFFICIENT_SCOPE");
    for (service, path, token, body, status, reason) in [
        (Service::Product, PUT, &sells, &product, 200, ok),
        (Service::Product, PUT, &helps, &product, 403, forbidden),
        (Service::Product, PUT, &reads, &product, 403, scope),
        (Service::Order, LIST, &sells, &hers, 403, forbidden),
        (Service::Order, LIST, &helps, &hers, 200, ok),
        (Service::Order, LIST, &reads, &hers, 200, ok),
        // It is nobody's customer.
        (Service::Order, LIST, &helps, &none, 400, "MISSING_FIELD"),
        (Service::Order, CREATE, &helps, &order, 400, "MISSING_FIELD"),
        (Service::Order, CREATE, &sells, &order, 403, forbidden),
        (Service::Order, CREATE, &reads, &order, 403, scope),
        (Service::Order, AUDIT, &helps, &none, 403, forbidden),
        (Service::Order, AUDIT, &operates, &none, 200, ok),
        (Service::User, GET_USER, &helps, &user, 200, ok),
        (Service::User, GET_USER, &sells, &user, 403, forbidden),
        (Service::User, GET_USER, &reads, &user, 401, "INVALID_TOKEN"),
    ] {
        let found = site.call(service, path, token, body).await;
        assert_eq!(found, (status, reason.to_owned()), "{path} with {body} by {}", part(token, 1));
    }
    // It is no user, whatever its role: it has no profile, and gives nobody roles or clients.
    for path in
        ["/profile", "/users?email=ada@example.com", "/oauth2/clients", "/oauth2/userinfo", "/oauth2/grants"]
    {
        site.get(path, &operates).await.assert_refused(401, "INVALID_TOKEN", None);
    }
}

#[tokio::test]
async fn a_token_for_itself_is_seen_by_introspection_and_goes_with_its_client() {
    let site = Site::open_with(guarded);
    let (machine, other) =
        (site.machine(&["merchant"], "catalogue.write").await, site.machine(&["support"], "").await);
    let token = site.token(&machine, Some("catalogue.write")).await;
    let about = async |by: &Program| site.form("/oauth2/introspect", by, &[("token", &token)]).await;
    let (_, found) = about(&machine).await;
    assert_eq!(
        (&found["active"], &found["sub"], &found["scope"]),
        (&json!(true), &json!(machine.id), &json!("catalogue.write"))
    );
    assert_eq!(about(&other).await, (200, json!({"active": false})));
    assert_eq!(site.form("/oauth2/revoke", &machine, &[("token", &token)]).await.0, 200);
    let admin = site.login("root@example.com").await.access;
    let gone = site.request("DELETE", &format!("/oauth2/clients/{}", machine.id)).bearer_auth(&admin);
    assert_eq!(gone.send().await.unwrap().status(), 204);
    let (status, problem) = site.for_itself(&machine, None).await;
    assert_eq!((status, &problem["error"]), (401, &json!("invalid_client")));
    assert_eq!(about(&machine).await.0, 401);
}

#[tokio::test]
async fn who_has_no_secret_or_no_role_gets_nothing_for_itself() {
    let site = Site::open_with(guarded);
    let (public, plain) = (site.program(false, ALL).await, site.program(true, ALL).await);
    let machine = site.machine(&["merchant"], "openid catalogue.write").await;
    let stranger = Program { secret: Some("onrush_cs_another".into()), ..machine.clone() };
    let anonymous = Program { secret: None, ..machine.clone() };
    for (program, scope, status, error) in [
        (&public, None, 400, "unauthorized_client"),
        (&plain, None, 400, "unauthorized_client"),
        (&plain, Some("catalogue.write"), 400, "unauthorized_client"),
        (&stranger, None, 401, "invalid_client"),
        (&anonymous, None, 401, "invalid_client"),
        // Not registered, not of calls, not known.
        (&machine, Some("orders.read"), 400, "invalid_scope"),
        (&machine, Some("openid"), 400, "invalid_scope"),
        (&machine, Some("catalogue.write openid"), 400, "invalid_scope"),
        (&machine, Some("admin"), 400, "invalid_scope"),
    ] {
        let (found, problem) = site.for_itself(program, scope).await;
        assert_eq!((found, &problem["error"]), (status, &json!(error)), "{scope:?}");
    }
    // Neither does a form promote anybody.
    let fields = [("grant_type", "client_credentials"), ("roles", "admin"), ("sub", "somebody")];
    let (status, tokens) = site.form("/oauth2/token", &machine, &fields).await;
    assert_eq!(
        (status, &part(tokens["access_token"].as_str().unwrap(), 1)["roles"]),
        (200, &json!(["merchant"]))
    );

    let wish = |roles: Value, confidential: bool, uris: Value, scope: &str| json!({"name": "App", "redirect_uris": uris, "scope": scope, "confidential": confidential, "roles": roles});
    for (body, reason, field) in [
        (wish(json!(["customer"]), true, json!([]), ""), "INVALID_FIELD", Some("roles")),
        (wish(json!(["merchant"]), false, json!([BACK]), "openid"), "INVALID_FIELD", Some("roles")),
        (wish(json!([]), true, json!([]), "openid"), "INVALID_FIELD", Some("redirect_uris")),
        (wish(json!([]), true, json!([BACK]), ""), "INVALID_FIELD", Some("scope")),
    ] {
        site.registered(&body).await.assert_refused(400, reason, field);
    }
    let root = wish(json!(["root"]), true, json!([]), "");
    assert_eq!(site.registered(&root).await.status, 400);
}
