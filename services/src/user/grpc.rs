//! `onrush.user.v1.UserService`.

use onrush_grpc::user::v1::user_service_server::UserService;
use onrush_grpc::user::v1::{
    GetUserRequest, GetUserResponse, User as UserMessage, UserRole, ValidateTokenRequest,
    ValidateTokenResponse,
};
use tonic::{Request, Response, Status};

use super::{User, Users};
use crate::access::{Bearer, Role, Roles};
use crate::field;
use crate::field::FieldError;

#[tonic::async_trait]
impl UserService for Users {
    async fn validate_token(
        &self,
        request: Request<ValidateTokenRequest>,
    ) -> Result<Response<ValidateTokenResponse>, Status> {
        let token = &request.get_ref().access_token;
        if token.is_empty() {
            return Err(FieldError::invalid("access_token", "a token", "none")
                .because("MISSING_FIELD")
                .into());
        }
        let (claims, _) = self.desk.keyring.verify(token)?;
        let (caller, _) = self.caller(token).await?;
        Ok(Response::new(ValidateTokenResponse {
            user_id: caller.user.to_string(),
            roles: roles(caller.roles),
            issued_at_us: field::time_us(claims.iat * 1_000_000),
            expires_at_us: field::time_us(claims.exp * 1_000_000),
        }))
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        let bearer = Bearer::of(request.metadata().as_ref())?;
        let id = request.into_inner().user_id;
        if id.is_empty() {
            return Err(FieldError::invalid("user_id", "an id", "none").because("MISSING_FIELD").into());
        }
        let found = self.seen_by(&bearer.0, &id).await?;
        Ok(Response::new(GetUserResponse { user: Some(message(found.value, found.version)) }))
    }
}

fn message(user: User, version: u64) -> UserMessage {
    UserMessage {
        user_id: user.id,
        email: user.email,
        name: user.name,
        phone: user.phone.unwrap_or_default(),
        language: user.language.unwrap_or_default(),
        roles: roles(user.roles),
        created_at_us: field::time_us(user.created_s * 1_000_000),
        version,
    }
}

fn roles(roles: Roles) -> Vec<i32> {
    let role = |role| match role {
        Role::Customer => UserRole::Customer,
        Role::Support => UserRole::Support,
        Role::Merchant => UserRole::Merchant,
        Role::Admin => UserRole::Admin,
    };
    roles.iter().map(|each| role(each).into()).collect()
}
