//! Who may see the page: live pictures are never open by accident.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Form;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, AUTHORIZATION, COOKIE, HOST, LOCATION, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::routes::{Site, failure};
use crate::telemetry::SignInRefused;

/// Wrong tokens in a row before tries are slowed down to one a second.
const TRIES: f64 = 10.0;

/// How long a sign-in lasts, seconds.
const SIGNED_IN_S: u32 = 12 * 3600;

const COOKIE_NAME: &str = "kvs_infer";

/// The rule of this listener.
pub(super) struct Guard {
    access: Access,
}

enum Access {
    /// On loopback, without a token: whoever is on this host, by a name of this host.
    Host,
    /// Who knows the token.
    Token(Lock),
    /// Nobody: no token on an address that others reach.
    Closed,
}

/// A token, without the token.
struct Lock {
    /// Random, by process: old cookies end with it.
    key: [u8; 32],
    token: [u8; 32],
    cookie: String,
    tries: Mutex<Tries>,
}

/// A bucket of tries that refills by one a second.
struct Tries {
    left: f64,
    at: Instant,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// Another site's page, or a name that was made to point here.
    Foreign,
    /// Nobody is let in.
    Closed,
    /// No token, or none that counts.
    SignIn,
    /// A wrong token.
    WrongToken,
    /// Too many wrong tokens.
    TooManyTries,
}

impl Guard {
    pub(super) fn new(listener: IpAddr, token: Option<&str>) -> Self {
        // A secret that was pasted or read from a file often ends in a line feed, which no header can carry.
        let token = token.map(|token| token.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}'));
        let access = match token.filter(|token| !token.is_empty()) {
            Some(token) => Access::Token(Lock::new(token)),
            None if listener.to_canonical().is_loopback() => Access::Host,
            None => Access::Closed,
        };
        Self { access }
    }

    /// Who may see the page, in words.
    pub(super) fn access(&self) -> &'static str {
        match self.access {
            Access::Host => "this host",
            Access::Token(_) => "who knows HTTP_TOKEN",
            Access::Closed => "nobody: HTTP_TOKEN is not set (health and metrics are open)",
        }
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if text(headers, "sec-fetch-site") == Some("cross-site")
            && text(headers, "sec-fetch-mode") != Some("navigate")
        {
            return Err(Refusal::Foreign);
        }
        match &self.access {
            Access::Closed => Err(Refusal::Closed),
            Access::Host => text(headers, HOST.as_str())
                .filter(|host| is_this_host(host))
                .map(|_| ())
                .ok_or(Refusal::Foreign),
            Access::Token(lock) => lock.check(headers),
        }
    }
}

impl Lock {
    fn new(token: &str) -> Self {
        let key: [u8; 32] = rand::random();
        let cookie = hex(&digest(&key, "cookie", token));
        let token = digest(&key, "token", token);
        Self { key, token, cookie, tries: Mutex::new(Tries { left: TRIES, at: Instant::now() }) }
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if cookies(headers).any(|value| bool::from(value.as_bytes().ct_eq(self.cookie.as_bytes()))) {
            return Ok(());
        }
        let bearer = text(headers, AUTHORIZATION.as_str()).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        bearer.map_or(Err(Refusal::SignIn), |token| self.check_token(token))
    }

    /// Compares digests, so that neither length nor place of a difference shows in time.
    fn check_token(&self, tried: &str) -> Result<(), Refusal> {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if !tries.has_one(Instant::now()) {
            SignInRefused { why: "too many wrong tokens" }.emit();
            return Err(Refusal::TooManyTries);
        }
        if digest(&self.key, "token", tried).ct_eq(&self.token).into() {
            return Ok(());
        }
        tries.left -= 1.0;
        SignInRefused { why: "wrong token" }.emit();
        Err(Refusal::WrongToken)
    }
}

impl Tries {
    fn has_one(&mut self, now: Instant) -> bool {
        let refill = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + refill).min(TRIES);
        self.at = now;
        self.left >= 1.0
    }
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::Foreign | Self::Closed => StatusCode::FORBIDDEN,
            Self::SignIn | Self::WrongToken => StatusCode::UNAUTHORIZED,
            Self::TooManyTries => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Foreign => {
                "This listener is on loopback and answers only to localhost, 127.0.0.1 and [::1], and not to other sites. \
                 To reach it by another name, set HTTP_TOKEN."
            }
            Self::Closed => {
                "HTTP_TOKEN is not set, and this listener is not on loopback: live pictures are never open by accident. \
                 Set HTTP_TOKEN and start again, or listen on 127.0.0.1 (HTTP_HOST). /healthz, /readyz and /metrics are open."
            }
            Self::SignIn => "Sign in with HTTP_TOKEN, or send it as a header: Authorization: Bearer ...",
            Self::WrongToken => "That is not the token.",
            Self::TooManyTries => "Too many wrong tokens. Wait a few seconds and try again.",
        }
    }

    /// A page for a person, JSON for a program.
    fn answer(self, headers: &HeaderMap) -> Response {
        let person = text(headers, ACCEPT.as_str()).is_some_and(|kinds| kinds.contains("text/html"));
        let mut response = match (person, self) {
            (false, _) => (self.status(), failure(self.words())).into_response(),
            (true, Self::Foreign | Self::Closed) => {
                (self.status(), page(include_str!("page/refused.html"), self.words())).into_response()
            }
            (true, Self::SignIn) => {
                (self.status(), page(include_str!("page/sign_in.html"), "")).into_response()
            }
            (true, _) => {
                (self.status(), page(include_str!("page/sign_in.html"), self.words())).into_response()
            }
        };
        let challenge = match self {
            Self::TooManyTries => Some((RETRY_AFTER, "2")),
            Self::SignIn | Self::WrongToken => Some((WWW_AUTHENTICATE, "Bearer realm=\"kvs-infer\"")),
            Self::Foreign | Self::Closed => None,
        };
        if let Some((name, value)) = challenge {
            response.headers_mut().insert(name, axum::http::HeaderValue::from_static(value));
        }
        response
    }
}

/// Lets a request through, or says why not.
pub(super) async fn admit(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    match site.guard.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.answer(request.headers()),
    }
}

#[derive(Deserialize)]
pub(super) struct SignIn {
    token: String,
}

/// Exchanges the token for a cookie, and goes to the page.
pub(super) async fn sign_in(
    State(site): State<Arc<Site>>,
    headers: HeaderMap,
    Form(form): Form<SignIn>,
) -> Response {
    let Access::Token(lock) = &site.guard.access else {
        return (StatusCode::SEE_OTHER, [(LOCATION, "/")]).into_response();
    };
    match lock.check_token(form.token.trim()) {
        Ok(()) => {
            let secure = if text(&headers, "x-forwarded-proto") == Some("https") { "; Secure" } else { "" };
            let cookie = format!(
                "{COOKIE_NAME}={}; Path=/; Max-Age={SIGNED_IN_S}; HttpOnly; SameSite=Strict{secure}",
                lock.cookie
            );
            (StatusCode::SEE_OTHER, [(LOCATION, "/".to_owned()), (SET_COOKIE, cookie)]).into_response()
        }
        Err(refusal) => refusal.answer(&headers),
    }
}

fn page(template: &str, words: &str) -> Html<String> {
    Html(template.replace("{{words}}", words))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let pairs = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    pairs
        .flat_map(|pairs| pairs.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter_map(|(name, value)| (name == COOKIE_NAME).then_some(value))
}

/// Whether a `Host` header names this host, with or without a port.
fn is_this_host(host: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]"
}

/// Keyed by 32 random bytes of fixed length, so that its parts cannot run into one another.
fn digest(key: &[u8; 32], purpose: &str, token: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(key);
    hash.update(purpose);
    hash.update([0]);
    hash.update(token);
    hash.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    /// Name, listener, token, headers, answer.
    type Case<'a> = (&'a str, &'a str, Option<&'a str>, &'a [(&'a str, &'a str)], Result<(), Refusal>);

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn who_is_let_in() {
        let (loopback, elsewhere) = ("127.0.0.1", "0.0.0.0");
        let foreign: &[(&str, &str)] = &[("host", "localhost"), ("sec-fetch-site", "cross-site")];
        let link: &[(&str, &str)] =
            &[("host", "localhost"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        let bearer: &[(&str, &str)] = &[("authorization", "Bearer s3cret")];
        let table: [Case; 16] = [
            ("loopback", loopback, None, &[("host", "localhost:8080")], Ok(())),
            ("loopback, v6", "::1", None, &[("host", "[::1]:8080")], Ok(())),
            ("loopback, mapped", "::ffff:127.0.0.1", None, &[("host", "127.0.0.1")], Ok(())),
            ("an empty token is none", loopback, Some(""), &[("host", "127.0.0.1:1")], Ok(())),
            ("a rebound name", loopback, None, &[("host", "evil.example:8080")], Err(Refusal::Foreign)),
            (
                "a name like ours",
                loopback,
                None,
                &[("host", "localhost.evil.example")],
                Err(Refusal::Foreign),
            ),
            ("no host", loopback, None, &[], Err(Refusal::Foreign)),
            ("another site's page", loopback, None, foreign, Err(Refusal::Foreign)),
            ("another site's link", loopback, None, link, Ok(())),
            ("no token elsewhere", elsewhere, None, &[("host", "127.0.0.1")], Err(Refusal::Closed)),
            ("no bearer", elsewhere, Some("s3cret"), &[("host", "cams.example")], Err(Refusal::SignIn)),
            ("bearer", elsewhere, Some("s3cret"), bearer, Ok(())),
            ("a token with its file's ends", elsewhere, Some("\u{feff}s3cret\r\n"), bearer, Ok(())),
            (
                "wrong",
                elsewhere,
                Some("s3cret"),
                &[("authorization", "bearer s3cre")],
                Err(Refusal::WrongToken),
            ),
            (
                "token as cookie",
                elsewhere,
                Some("s3cret"),
                &[("cookie", "kvs_infer=s3cret")],
                Err(Refusal::SignIn),
            ),
            ("loopback with token", loopback, Some("s3cret"), &[("host", "localhost")], Err(Refusal::SignIn)),
        ];
        for (name, listener, token, pairs, expected) in table {
            let guard = Guard::new(listener.parse().unwrap(), token);
            assert_eq!(guard.check(&headers(pairs)), expected, "{name}");
        }
    }

    #[test]
    fn a_cookie_opens_one_process_only() {
        let lock = Lock::new("s3cret");
        let value = format!("other=1; {COOKIE_NAME}={}", lock.cookie);
        assert_eq!(lock.check(&headers(&[("cookie", &value)])), Ok(()));
        assert_eq!(Lock::new("s3cret").check(&headers(&[("cookie", &value)])), Err(Refusal::SignIn));
        assert!(!lock.cookie.contains("s3cret"));
    }

    #[test]
    fn guessing_is_slowed_down_even_for_the_right_guess() {
        let lock = Lock::new("s3cret");
        for _ in 0..10 {
            assert_eq!(lock.check_token("guess"), Err(Refusal::WrongToken));
        }
        assert_eq!(lock.check_token("s3cret"), Err(Refusal::TooManyTries));
        let later = Instant::now() + Duration::from_secs(2);
        assert!(lock.tries.lock().unwrap().has_one(later));
    }

    #[test]
    fn right_tokens_are_never_slowed_down() {
        let lock = Lock::new("s3cret");
        assert!((0..100).all(|_| lock.check_token("s3cret").is_ok()));
    }
}
