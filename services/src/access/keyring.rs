//! The key that signs access tokens, and what a token must be to be believed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ACCESS_TOKEN_S, Claims, Delegation, Identity, Roles, Scopes};
use crate::config::Tokens;
use crate::status::{Denial, Rejection};

/// Most bytes of a token that is looked at.
pub const TOKEN_BYTES_MAX: usize = 4_096;
/// The type of our access tokens (RFC 9068).
const TYPE: &str = "at+jwt";
/// By how much clocks of several machines may differ, in seconds.
pub(super) const LEEWAY_S: u64 = 5;
/// The key pair in the data directory.
const KEY_FILE: &str = "token-signing-key.pkcs8";
/// Readable by nobody but the owner.
const KEY_MODE: u32 = 0o600;
/// The key id of tokens under `JWT_SECRET`.
const SECRET_KID: &str = "jwt-secret";

/// A signing key that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("{}: expected the key that signs tokens, found: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Others may read the file.
    #[error("{}: expected mode 600, found {mode:o}: others may have read the key", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The system gives no randomness.
    #[error("expected randomness of the system, found none")]
    NoRandomness,
    /// The file holds something else.
    #[error("{}: expected an Ed25519 key in PKCS #8, found something else", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// Signs and verifies access tokens with one key and one algorithm. Has no `Debug`: it is a secret.
pub struct Keyring {
    header: Header,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    issuer: String,
    audience: String,
    /// For ID tokens, and for access tokens unless a secret signs them.
    pair: Option<Pair>,
}

/// The key pair in the data directory.
struct Pair {
    header: Header,
    key: EncodingKey,
    /// The public half.
    public: String,
}

impl Pair {
    /// Made if there is none.
    fn open(data_dir: &Path) -> Result<Self, KeyError> {
        let path = data_dir.join(KEY_FILE);
        let pkcs8 = read_or_make(&path)?;
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|_| KeyError::Damaged { path })?;
        let public = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(thumbprint(&public));
        Ok(Self { header, key: EncodingKey::from_ed_der(&pkcs8), public })
    }
}

/// A header as we write it. A field beyond these (`jku`, `jwk`, `x5u`, `crit`..) is a reason to refuse.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnHeader {
    typ: String,
    alg: String,
    kid: String,
}

impl Keyring {
    /// The key of `JWT_SECRET` if it is set, else the pair in the data directory, made if there is none.
    pub fn open(data_dir: &Path, tokens: &Tokens) -> Result<Self, KeyError> {
        let (algorithm, kid, encoding, decoding, pair) = match &tokens.secret {
            Some(secret) => {
                let secret = secret.expose().as_bytes();
                let keys = (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret));
                (Algorithm::HS256, SECRET_KID.to_owned(), keys.0, keys.1, None)
            }
            None => {
                let pair = Pair::open(data_dir)?;
                let damaged = |_| KeyError::Damaged { path: data_dir.join(KEY_FILE) };
                let decoding = DecodingKey::from_ed_components(&pair.public).map_err(damaged)?;
                (Algorithm::EdDSA, thumbprint(&pair.public), pair.key.clone(), decoding, Some(pair))
            }
        };
        let mut header = Header::new(algorithm);
        (header.typ, header.kid) = (Some(TYPE.into()), Some(kid));
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.set_issuer(&[&tokens.issuer]);
        validation.set_audience(&[&tokens.audience]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        let (issuer, audience) = (tokens.issuer.clone(), tokens.audience.clone());
        Ok(Self { header, encoding, decoding, validation, issuer, audience, pair })
    }

    /// The same with the pair beside a secret, for whoever signs ID tokens: their readers have no secret of ours.
    pub fn with_pair(self, data_dir: &Path) -> Result<Self, KeyError> {
        let pair = match self.pair {
            Some(pair) => pair,
            None => Pair::open(data_dir)?,
        };
        Ok(Self { pair: Some(pair), ..self })
    }

    /// A fresh access token of a user.
    pub fn issue(&self, user: &str, session: &str, roles: Roles) -> Result<String, Rejection> {
        self.sign(&self.claims(user, session, roles))
    }

    /// A fresh access token for a program that acts in a user's name.
    pub fn issue_to(
        &self,
        user: &str,
        session: &str,
        roles: Roles,
        delegation: Delegation,
    ) -> Result<String, Rejection> {
        let Delegation { client_id, scopes } = delegation;
        let claims = self.claims(user, session, roles);
        self.sign(&Claims { client_id: Some(client_id), scope: Some(scopes), ..claims })
    }

    /// A fresh access token for a program that acts for nobody, under its own roles; with scopes it keeps itself to
    /// those. It belongs to no login: it ends by itself.
    pub fn issue_to_machine(
        &self,
        client_id: &str,
        roles: Roles,
        scopes: Option<Scopes>,
    ) -> Result<String, Rejection> {
        let claims = self.claims(client_id, "", roles);
        self.sign(&Claims { client_id: Some(client_id.into()), scope: scopes, ..claims })
    }

    /// Signs an ID token: always by the pair, so that its reader needs no secret of ours. Its type is another
    /// one than that of access tokens, and so it is none.
    pub fn sign_id(&self, claims: &impl Serialize) -> Result<String, Rejection> {
        let none = || Rejection::Internal("expected a key pair for ID tokens, found none".into());
        let pair = self.pair.as_ref().ok_or_else(none)?;
        jsonwebtoken::encode(&pair.header, claims, &pair.key)
            .map_err(|error| Rejection::Internal(format!("expected to sign an ID token, found: {error}")))
    }

    fn claims(&self, user: &str, session: &str, roles: Roles) -> Claims {
        let now = now_s();
        Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: user.into(),
            iat: now,
            nbf: now,
            exp: now + ACCESS_TOKEN_S,
            jti: Uuid::new_v4().simple().to_string(),
            sid: session.into(),
            roles,
            client_id: None,
            scope: None,
        }
    }

    /// Signs claims as they are.
    pub(super) fn sign(&self, claims: &Claims) -> Result<String, Rejection> {
        jsonwebtoken::encode(&self.header, claims, &self.encoding)
            .map_err(|error| Rejection::Internal(format!("expected to sign a token, found: {error}")))
    }

    /// What a token says, and of whom, if it is ours and good now.
    pub fn verify(&self, token: &str) -> Result<(Claims, Identity), Denial> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(refused(&format!("at most {TOKEN_BYTES_MAX} bytes"), "more"));
        }
        self.check_header(token)?;
        let found = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation);
        let found = found.map_err(|error| match error.kind() {
            ErrorKind::ExpiredSignature => refused("a token that is good now", "one that has expired"),
            ErrorKind::ImmatureSignature => refused("a token that is good now", "one of the future"),
            ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience => {
                refused("our issuer and audience", "another one")
            }
            ErrorKind::InvalidSignature => refused("our signature", "another one"),
            _ => refused("an access token of ours", "something else"),
        })?;
        let identity = Identity::of(&found.claims)
            .ok_or_else(|| refused("a user and perhaps a program with its scopes", "something else"))?;
        Ok((found.claims, identity))
    }

    /// Algorithm, type and key are ours, and there is nothing else.
    fn check_header(&self, token: &str) -> Result<(), Denial> {
        let first = token.split('.').next().unwrap_or_default();
        let bytes = URL_SAFE_NO_PAD.decode(first).unwrap_or_default();
        let Ok(header) = serde_json::from_slice::<OwnHeader>(&bytes) else {
            return Err(refused("a header with typ, alg and kid", "another one"));
        };
        let algorithm = if self.header.alg == Algorithm::EdDSA { "EdDSA" } else { "HS256" };
        let own = header.typ == TYPE
            && header.alg == algorithm
            && Some(header.kid.as_str()) == self.header.kid.as_deref();
        if own { Ok(()) } else { Err(refused(&format!("{TYPE}, {algorithm} and our key id"), "others")) }
    }

    /// The public key as a JWK set (RFC 7517). While a shared secret signs access tokens, it is for ID tokens
    /// alone.
    pub fn jwks(&self) -> serde_json::Value {
        let key = |pair: &Pair| {
            serde_json::json!({
                "kty": "OKP", "crv": "Ed25519", "x": pair.public, "use": "sig", "alg": "EdDSA", "kid": pair.header.kid
            })
        };
        let keys: Vec<_> = self.pair.iter().map(key).collect();
        serde_json::json!({ "keys": keys })
    }
}

fn refused(expected: &str, found: &str) -> Denial {
    Denial::new("INVALID_TOKEN", format!("access token: expected {expected}, found {found}"))
}

/// The key's own hash (RFC 7638), so that every process over one directory says the same.
fn thumbprint(x: &str) -> String {
    let canonical = format!("{{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"{x}\"}}");
    URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()))
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn read_or_make(path: &Path) -> Result<Vec<u8>, KeyError> {
    let wrong = |error| KeyError::Io { path: path.into(), error };
    match fs::metadata(path) {
        Ok(found) => {
            let mode = mode_of(&found);
            if mode & 0o077 != 0 {
                return Err(KeyError::Open { path: path.into(), mode });
            }
            fs::read(path).map_err(wrong)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path).map_err(wrong),
        Err(error) => Err(wrong(error)),
    }
}

/// Written whole under another name first: a crash leaves no half of a key.
fn make(path: &Path) -> io::Result<Vec<u8>> {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map_err(|_| io::Error::other("the system gave no randomness"))?;
    let draft = path.with_extension("draft");
    let mut file = create(&draft)?;
    file.write_all(pkcs8.as_ref())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(pkcs8.as_ref().to_vec())
}

fn create(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // A draft of a crashed start may be there, with any mode.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(KEY_MODE).open(path)
}

fn mode_of(found: &fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    found.permissions().mode() & 0o777
}
