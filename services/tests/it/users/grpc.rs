//! `onrush.user.v1.UserService` on the same port.

use onrush_grpc::user::v1::user_service_client::UserServiceClient;
use onrush_grpc::user::v1::{GetUserRequest, UserRole, ValidateTokenRequest};
use onrush_services::config::Service;
use serde_json::json;
use tonic::{Code, Request};
use tonic_types::StatusExt;

use super::Site;

#[tokio::test]
async fn tokens_are_validated_and_users_found() {
    let site = Site::open();
    let id = site.register("ada@example.com").await;
    let bob = site.register("bob@example.com").await;
    let ada = site.login("ada@example.com").await;
    let mut client = UserServiceClient::connect(site.shop.address(Service::User)).await.unwrap();
    let token = ValidateTokenRequest { access_token: ada.access.clone() };
    let valid = client.validate_token(token.clone()).await.unwrap().into_inner();
    assert_eq!((&valid.user_id, valid.roles().collect::<Vec<_>>()), (&id, vec![UserRole::Customer]));
    assert_eq!(valid.expires_at_us - valid.issued_at_us, 900_000_000);

    let get = |id: &str| {
        let mut request = Request::new(GetUserRequest { user_id: id.into() });
        let value = format!("Bearer {}", ada.access).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        request
    };
    let user = client.get_user(get(&id)).await.unwrap().into_inner().user.unwrap();
    assert_eq!((user.email.as_str(), user.version), ("ada@example.com", 1));
    for foreign in [bob.as_str(), "00000000-0000-4000-8000-000000000000"] {
        let status = client.get_user(get(foreign)).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.get_error_details().error_info().unwrap().reason, "UNKNOWN_USER");
    }
    let bare = client.get_user(GetUserRequest { user_id: id.clone() }).await.unwrap_err();
    assert_eq!(bare.code(), Code::Unauthenticated);
    assert_eq!(bare.get_error_details().error_info().unwrap().reason, "UNAUTHENTICATED");

    site.post("/logout", &json!({"refresh_token": ada.refresh})).await;
    let over = client.validate_token(token).await.unwrap_err();
    assert_eq!(over.code(), Code::Unauthenticated);
    assert_eq!(over.get_error_details().error_info().unwrap().reason, "INVALID_TOKEN");
}
