//! Who calls: a user and password, or the token that the handshake gave for them.
//!
//! A token is 32 random bytes, kept in memory for [`TOKEN_LIFE`] since it was last used. Checking a password is slow by design, so
//! clients are meant to do it once; one that sends it with every call is served, too.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use tonic::Status;
use tonic::metadata::MetadataMap;

/// How long a token counts after it was used.
const TOKEN_LIFE: Duration = Duration::from_secs(3_600);
/// Most tokens that are kept: some hundred bytes each.
const TOKENS_MAX: usize = 10_000;

/// Clients pad base64 or do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Checks users and passwords.
#[async_trait]
pub trait Authenticator: Send + Sync + Debug {
    /// Whether somebody may come in with this user and password, or with none.
    async fn check(&self, credentials: Option<(&str, &str)>) -> bool;
}

/// Lets calls in.
#[derive(Debug)]
pub(crate) struct Door {
    authenticator: Option<Arc<dyn Authenticator>>,
    /// When each token stops to count.
    tokens: Mutex<HashMap<String, Instant>>,
}

impl Door {
    pub(crate) fn new(authenticator: Option<Arc<dyn Authenticator>>) -> Self {
        Self { authenticator, tokens: Mutex::default() }
    }

    /// A token for who names a user and a password that are right.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`
    pub(crate) async fn handshake(&self, metadata: &MetadataMap) -> Result<String, Status> {
        if let Some(authenticator) = &self.authenticator {
            let accepted = match credentials(metadata)? {
                Some(Credentials::Basic { user, password }) => authenticator.check(Some((&user, &password))).await,
                _ => authenticator.check(None).await,
            };
            if !accepted {
                return Err(Status::unauthenticated("the handshake needs the name of a user and the password"));
            }
        }
        self.new_token(Instant::now())
    }

    /// Lets a call in that has a token or a password.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`
    pub(crate) async fn let_in(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let Some(authenticator) = &self.authenticator else { return Ok(()) };
        let accepted = match credentials(metadata)? {
            Some(Credentials::Basic { user, password }) => authenticator.check(Some((&user, &password))).await,
            Some(Credentials::Bearer(token)) if self.is_known(&token, Instant::now()) => true,
            // where there are no users after all
            Some(Credentials::Bearer(_)) | None => authenticator.check(None).await,
        };
        if accepted {
            return Ok(());
        }
        Err(Status::unauthenticated("authentication is needed: user and password, or a token of the handshake"))
    }

    fn new_token(&self, now: Instant) -> Result<String, Status> {
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes).map_err(|error| Status::internal(format!("no random numbers: {error}")))?;
        let token = URL_SAFE_NO_PAD.encode(bytes);
        let mut tokens = self.tokens.lock();
        tokens.retain(|_, ends| *ends > now);
        if tokens.len() >= TOKENS_MAX {
            return Err(Status::resource_exhausted(format!("{TOKENS_MAX} tokens are in use already")));
        }
        tokens.insert(token.clone(), now + TOKEN_LIFE);
        Ok(token)
    }

    fn is_known(&self, token: &str, now: Instant) -> bool {
        match self.tokens.lock().get_mut(token) {
            Some(ends) if *ends > now => {
                *ends = now + TOKEN_LIFE;
                true
            }
            _ => false,
        }
    }
}

/// What a call names in its `authorization`.
#[derive(Debug, PartialEq, Eq)]
enum Credentials {
    Basic { user: String, password: String },
    Bearer(String),
}

fn credentials(metadata: &MetadataMap) -> Result<Option<Credentials>, Status> {
    let Some(header) = metadata.get("authorization") else { return Ok(None) };
    let wrong = || Status::unauthenticated("the authorization is neither Basic nor Bearer");
    let header = header.to_str().map_err(|_| wrong())?;
    let (scheme, rest) = header.split_once(' ').ok_or_else(wrong)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some(Credentials::Bearer(rest.trim().to_owned())));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(wrong());
    }
    let decoded = BASE64.decode(rest.trim()).map_err(|_| wrong())?;
    let decoded = String::from_utf8(decoded).map_err(|_| wrong())?;
    let (user, password) = decoded.split_once(':').ok_or_else(wrong)?;
    Ok(Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Alice;

    #[async_trait]
    impl Authenticator for Alice {
        async fn check(&self, credentials: Option<(&str, &str)>) -> bool {
            credentials == Some(("alice", "se:cret"))
        }
    }

    fn metadata(authorization: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", authorization.parse().unwrap());
        metadata
    }

    #[tokio::test]
    async fn a_password_gives_a_token_and_a_token_lets_in() {
        let door = Door::new(Some(Arc::new(Alice)));
        // alice:se:cret, padded and not
        for encoded in ["YWxpY2U6c2U6Y3JldA==", "YWxpY2U6c2U6Y3JldA"] {
            let token = door.handshake(&metadata(&format!("Basic {encoded}"))).await.unwrap();
            door.let_in(&metadata(&format!("Bearer {token}"))).await.unwrap();
            door.let_in(&metadata(&format!("basic {encoded}"))).await.unwrap();
        }
        for wrong in ["Basic YWxpY2U6c2VjcmV0", "Bearer x", "Basic !", "Digest x", "Bearer"] {
            let error = door.let_in(&metadata(wrong)).await.unwrap_err();
            assert_eq!(error.code(), tonic::Code::Unauthenticated, "{wrong}");
        }
        assert!(door.handshake(&metadata("Bearer x")).await.is_err());
        assert!(door.let_in(&MetadataMap::new()).await.is_err());
    }

    #[tokio::test]
    async fn a_token_ends_when_it_is_not_used() {
        let door = Door::new(Some(Arc::new(Alice)));
        let now = Instant::now();
        let token = door.new_token(now).unwrap();
        assert!(door.is_known(&token, now + TOKEN_LIFE / 2));
        assert!(door.is_known(&token, now + TOKEN_LIFE));
        assert!(!door.is_known(&token, now + TOKEN_LIFE * 2));
    }

    #[tokio::test]
    async fn without_users_everybody_is_let_in() {
        let door = Door::new(None);
        door.let_in(&MetadataMap::new()).await.unwrap();
        assert!(!door.handshake(&metadata("Basic x")).await.unwrap().is_empty());
    }
}
