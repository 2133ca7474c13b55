//! Who may see the page: live pictures are never open by accident.

use std::sync::Arc;
use std::time::Instant;

use axum::Form;
use axum::extract::{Extension, Request, State};
use axum::http::header::{
    ACCEPT, AUTHORIZATION, COOKIE, HOST, LOCATION, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::ends::Ends;
use super::routes::{Site, failure};
use super::session::{LASTS, Sessions};
use super::token::AccessToken;
use super::tries::WrongTokens;

/// Headers that a proxy adds to what it passes on. Those that begin with `x-forwarded-` count, too.
const OF_PROXIES: [&str; 6] =
    ["forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip"];

/// The rule of this listener.
pub(super) struct Guard {
    access: Access,
    on_loopback: bool,
}

enum Access {
    /// On loopback, without a token: whoever is on this host, by a name of this host.
    Host,
    /// Who knows the token.
    Token(Box<Lock>),
    /// Nobody: no token on an address that others reach.
    Closed,
}

/// A token, without the token.
struct Lock {
    /// Random, by process.
    key: [u8; 32],
    token: [u8; 32],
    sessions: Sessions,
    wrong: WrongTokens,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// Another site's page, or a name that was made to point here.
    Foreign,
    /// A proxy passed the request on, and there is no token.
    Forwarded,
    /// Nobody is let in.
    Closed,
    /// No token, or none that counts.
    SignIn,
    /// A wrong token.
    WrongToken,
    /// Too many wrong tokens from this address.
    TooManyTries,
}

impl Guard {
    pub(super) fn new(listener: std::net::IpAddr, token: Option<&AccessToken>) -> Self {
        let on_loopback = listener.to_canonical().is_loopback();
        let access = match token {
            Some(token) => Access::Token(Box::new(Lock::new(token.secret()))),
            None if on_loopback => Access::Host,
            None => Access::Closed,
        };
        Self { access, on_loopback }
    }

    /// Who may see the page, in words.
    pub(super) fn access(&self) -> &'static str {
        match self.access {
            Access::Host => "this host",
            Access::Token(_) => "who knows HTTP_TOKEN",
            Access::Closed => "nobody: HTTP_TOKEN is not set (health and metrics are open)",
        }
    }

    /// Returns whether people sign in, and so may sign out.
    pub(super) fn has_token(&self) -> bool {
        matches!(self.access, Access::Token(_))
    }

    /// Logs the wrong tokens that were not logged yet, once a minute is over.
    pub(super) fn report(&self) {
        if let Access::Token(lock) = &self.access {
            lock.wrong.report(Instant::now());
        }
    }

    /// Returns whether the pictures may be seen.
    fn check(&self, headers: &HeaderMap, ends: Ends) -> Result<(), Refusal> {
        if is_of_another_site(headers) {
            return Err(Refusal::Foreign);
        }
        match &self.access {
            Access::Closed => Err(Refusal::Closed),
            Access::Host if is_forwarded(headers) => Err(Refusal::Forwarded),
            Access::Host if names_this_host(headers, ends) => Ok(()),
            Access::Host => Err(Refusal::Foreign),
            Access::Token(lock) => lock.check(headers, ends, Instant::now()),
        }
    }

    /// Returns whether health and metrics are answered. A listener on loopback answers only to names of this host, so that no
    /// page of another site reads them by a name that was made to point here.
    fn check_open(&self, headers: &HeaderMap, ends: Ends) -> Result<(), Refusal> {
        let is_open = !self.on_loopback || names_this_host(headers, ends) || self.knows_token(headers, ends);
        is_open.then_some(()).ok_or(Refusal::Foreign)
    }

    /// Returns whether the reasons of `/healthz` may be known: to those who know the token, and to those on this host.
    pub(super) fn may_know(&self, headers: &HeaderMap, ends: Ends) -> bool {
        let is_here = ends.are_of_this_host()
            && names_this_host(headers, ends)
            && !is_forwarded(headers)
            && !is_of_another_site(headers);
        is_here || self.knows_token(headers, ends)
    }

    fn knows_token(&self, headers: &HeaderMap, ends: Ends) -> bool {
        match &self.access {
            Access::Token(lock) => lock.check(headers, ends, Instant::now()).is_ok(),
            Access::Host | Access::Closed => false,
        }
    }
}

impl Lock {
    fn new(token: &str) -> Self {
        let key: [u8; 32] = rand::random();
        let sessions = Sessions::new(rand::random(), Instant::now());
        Self { key, token: digest(&key, token.as_bytes()), sessions, wrong: WrongTokens::default() }
    }

    fn check(&self, headers: &HeaderMap, ends: Ends, now: Instant) -> Result<(), Refusal> {
        if cookies(headers).any(|cookie| self.sessions.is_open(cookie, now)) {
            return Ok(());
        }
        bearer(headers).map_or(Err(Refusal::SignIn), |token| self.check_token(token, ends, now))
    }

    /// Compares digests, so that neither length nor place of a difference shows in time.
    ///
    /// The right token passes however many wrong ones came before: else anybody who reaches the port could lock out
    /// those who know it. Slowing the right guess down as well would add nothing, since a token of 16 characters or more
    /// is not found by trying; of a shorter one the log warns.
    fn check_token(&self, tried: &[u8], ends: Ends, now: Instant) -> Result<(), Refusal> {
        if digest(&self.key, tried).ct_eq(&self.token).into() {
            return Ok(());
        }
        let too_many = self.wrong.count(ends.peer, now);
        Err(if too_many { Refusal::TooManyTries } else { Refusal::WrongToken })
    }
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::Foreign | Self::Forwarded | Self::Closed => StatusCode::FORBIDDEN,
            Self::SignIn | Self::WrongToken => StatusCode::UNAUTHORIZED,
            Self::TooManyTries => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Foreign => {
                "This listener is on loopback and answers only to localhost, 127.0.0.1 and [::1], and not to other sites. \
                 To reach it by another name, set HTTP_TOKEN and send it."
            }
            Self::Forwarded => {
                "This request came through a proxy (it has Forwarded, X-Forwarded-..., X-Real-IP or Via), and HTTP_TOKEN is not \
                 set: live pictures are never open by accident. Set HTTP_TOKEN and start again, or ask without the proxy."
            }
            Self::Closed => {
                "HTTP_TOKEN is not set, and this listener is not on loopback: live pictures are never open by accident. \
                 Set HTTP_TOKEN and start again, or listen on 127.0.0.1 (HTTP_HOST). /healthz, /readyz and /metrics are open."
            }
            Self::SignIn => "Sign in with HTTP_TOKEN, or send it as a header: Authorization: Bearer ...",
            Self::WrongToken => "That is not the token.",
            Self::TooManyTries => {
                "That is not the token, and there were too many wrong ones. Wait a few seconds."
            }
        }
    }

    /// A page for a person, JSON for a program.
    fn answer(self, headers: &HeaderMap) -> Response {
        let person = text(headers, ACCEPT.as_str()).is_some_and(|kinds| kinds.contains("text/html"));
        let mut response = match (person, self) {
            (false, _) => (self.status(), failure(self.words())).into_response(),
            (true, Self::Foreign | Self::Forwarded | Self::Closed) => {
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
            Self::Foreign | Self::Forwarded | Self::Closed => None,
        };
        if let Some((name, value)) = challenge {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// Marks the answer to one who has shown the token.
#[derive(Clone, Copy)]
pub(super) struct Known;

/// Lets a request for pictures through, or says why not.
pub(super) async fn admit(
    State(site): State<Arc<Site>>,
    Extension(ends): Extension<Ends>,
    request: Request,
    next: Next,
) -> Response {
    match site.guard.check(request.headers(), ends) {
        Ok(()) => {
            let mut response = next.run(request).await;
            if site.guard.has_token() {
                response.extensions_mut().insert(Known);
            }
            response
        }
        Err(refusal) => refusal.answer(request.headers()),
    }
}

/// Lets a request for health or metrics through, or says why not.
pub(super) async fn admit_open(
    State(site): State<Arc<Site>>,
    Extension(ends): Extension<Ends>,
    request: Request,
    next: Next,
) -> Response {
    match site.guard.check_open(request.headers(), ends) {
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
    Extension(ends): Extension<Ends>,
    headers: HeaderMap,
    Form(form): Form<SignIn>,
) -> Response {
    let Access::Token(lock) = &site.guard.access else { return to_page(None) };
    if is_of_another_site(&headers) {
        return Refusal::Foreign.answer(&headers);
    }
    let now = Instant::now();
    match lock.check_token(form.token.trim().as_bytes(), ends, now) {
        Ok(()) => to_page(Some(cookie(&headers, &lock.sessions.open(now), LASTS.as_secs()))),
        Err(refusal) => refusal.answer(&headers),
    }
}

/// Ends the sign-in of the cookie, also where a copy of it is kept elsewhere, and goes to the sign-in.
pub(super) async fn sign_out(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let Access::Token(lock) = &site.guard.access else { return to_page(None) };
    if is_of_another_site(&headers) {
        return Refusal::Foreign.answer(&headers);
    }
    cookies(&headers).for_each(|cookie| lock.sessions.close(cookie, Instant::now()));
    to_page(Some(cookie(&headers, "", 0)))
}

fn to_page(cookie: Option<String>) -> Response {
    let mut response = (StatusCode::SEE_OTHER, [(LOCATION, "/")]).into_response();
    if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

fn cookie(headers: &HeaderMap, value: &str, seconds: u64) -> String {
    let secure = if is_by_https(headers) { "; Secure" } else { "" };
    let name = cookie_name(headers);
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

/// Returns whether a proxy in front says that the client came by https.
fn is_by_https(headers: &HeaderMap) -> bool {
    let proto = text(headers, "x-forwarded-proto").and_then(|protos| protos.split(',').next());
    let forwarded = text(headers, "forwarded").unwrap_or_default().to_ascii_lowercase();
    proto.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"))
        || forwarded.contains("proto=https")
        || forwarded.contains("proto=\"https\"")
}

/// Returns the cookie's name. Browsers send a cookie to all ports of a host: two services there must not sign each other
/// out, so the name holds the port that the browser asked.
fn cookie_name(headers: &HeaderMap) -> String {
    let port = text(headers, HOST.as_str()).and_then(|host| host.rsplit_once(':')).map(|(_, port)| port);
    match port.and_then(|port| port.parse::<u16>().ok()) {
        Some(port) => format!("kvs_infer_{port}"),
        None => "kvs_infer".to_owned(),
    }
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let wanted = cookie_name(headers);
    let pairs = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    pairs
        .flat_map(|pairs| pairs.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter_map(move |(name, value)| (name == wanted).then_some(value))
}

/// Returns the token of an `Authorization` header; its bytes may be any, as curl sends UTF-8.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Returns whether another site's page asks, other than by a link.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    text(headers, "sec-fetch-site") == Some("cross-site")
        && text(headers, "sec-fetch-mode") != Some("navigate")
}

/// Returns whether a proxy passed the request on.
fn is_forwarded(headers: &HeaderMap) -> bool {
    let is_of_proxy = |name: &str| OF_PROXIES.contains(&name) || name.starts_with("x-forwarded");
    headers.keys().any(|name| is_of_proxy(name.as_str()))
}

fn names_this_host(headers: &HeaderMap, ends: Ends) -> bool {
    text(headers, HOST.as_str()).is_some_and(|host| ends.are_named_by(host))
}

fn page(template: &str, words: &str) -> Html<String> {
    Html(template.replace("{{words}}", words))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Keyed by 32 random bytes of fixed length, so that its parts cannot run into one another.
fn digest(key: &[u8; 32], token: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(key).chain_update(token).finalize().into()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    /// Name, listener, token, headers, answer.
    type Case<'a> = (&'a str, &'a str, Option<&'a str>, Pairs<'a>, Result<(), Refusal>);
    /// Name, token, headers, ends, whether the reasons may be known.
    type Knowing<'a> = (&'a str, Option<&'a str>, Pairs<'a>, Ends, bool);
    /// Listener, headers, answer.
    type Open<'a> = (&'a str, Pairs<'a>, Result<(), Refusal>);
    /// Names and values of headers.
    type Pairs<'a> = &'a [(&'a str, &'a str)];

    /// From this host.
    fn here() -> Ends {
        Ends { peer: "127.0.0.1".parse().unwrap(), local: "127.0.0.1".parse().unwrap() }
    }

    /// From another one.
    fn there() -> Ends {
        Ends { peer: "10.0.0.7".parse().unwrap(), local: "10.0.0.1".parse().unwrap() }
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn guard(listener: &str, token: Option<&str>) -> Guard {
        let token = AccessToken::from_variable(token).unwrap();
        Guard::new(listener.parse().unwrap(), token.as_ref())
    }

    fn lock() -> Lock {
        Lock::new("s3cret")
    }

    #[test]
    fn who_is_let_in() {
        let (loopback, elsewhere) = ("127.0.0.1", "0.0.0.0");
        let local = ("host", "localhost");
        let foreign: &[(&str, &str)] = &[local, ("sec-fetch-site", "cross-site")];
        let link: &[(&str, &str)] =
            &[local, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        let bearer: &[(&str, &str)] = &[("authorization", "Bearer s3cret")];
        let wrong: &[(&str, &str)] = &[("authorization", "bearer s3cre")];
        let table: [Case; 23] = [
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
            ("nginx", loopback, None, &[local, ("x-real-ip", "8.8.8.8")], Err(Refusal::Forwarded)),
            ("a chain", loopback, None, &[local, ("x-forwarded-for", "8.8.8.8")], Err(Refusal::Forwarded)),
            (
                "by the standard",
                loopback,
                None,
                &[local, ("forwarded", "for=8.8.8.8")],
                Err(Refusal::Forwarded),
            ),
            ("via", loopback, None, &[local, ("via", "1.1 nginx")], Err(Refusal::Forwarded)),
            ("a proxy, with the token", loopback, Some("s3cret"), &[bearer[0], ("via", "1.1 nginx")], Ok(())),
            ("no token elsewhere", elsewhere, None, &[("host", "127.0.0.1")], Err(Refusal::Closed)),
            ("no bearer", elsewhere, Some("s3cret"), &[("host", "cams.example")], Err(Refusal::SignIn)),
            ("bearer", elsewhere, Some("s3cret"), bearer, Ok(())),
            ("a token with its file's ends", elsewhere, Some("\u{feff}s3cret\r\n"), bearer, Ok(())),
            ("not ASCII", elsewhere, Some("gehöim"), &[("authorization", "Bearer gehöim")], Ok(())),
            ("wrong", elsewhere, Some("s3cret"), wrong, Err(Refusal::WrongToken)),
            (
                "another scheme",
                elsewhere,
                Some("s3cret"),
                &[("authorization", "Basic s3")],
                Err(Refusal::SignIn),
            ),
            (
                "token as cookie",
                elsewhere,
                Some("s3cret"),
                &[("cookie", "kvs_infer=s3cret")],
                Err(Refusal::SignIn),
            ),
            ("loopback with token", loopback, Some("s3cret"), &[local], Err(Refusal::SignIn)),
        ];
        for (name, listener, token, pairs, expected) in table {
            assert_eq!(guard(listener, token).check(&headers(pairs), here()), expected, "{name}");
        }
    }

    #[test]
    fn who_may_know_the_reasons() {
        let (local, other) = ([("host", "127.0.0.1:8080")], [("host", "cams.example")]);
        let forwarded = [local[0], ("via", "1.1 nginx")];
        let bearer = [other[0], ("authorization", "Bearer s3cret")];
        let by_address = [("host", "10.0.0.1:8080")];
        let check = Ends { peer: there().local, ..there() };
        let table: [Knowing; 8] = [
            ("the container's check", None, &local, here(), true),
            ("the same by HTTP_HOST", None, &by_address, check, true),
            ("the same with a token", Some("s3cret"), &local, here(), true),
            ("a rebound name", None, &other, here(), false),
            ("by a proxy of this host", None, &forwarded, here(), false),
            ("from elsewhere, by a false name", None, &local, there(), false),
            ("from elsewhere", Some("s3cret"), &other, there(), false),
            ("from elsewhere with the token", Some("s3cret"), &bearer, there(), true),
        ];
        for (name, token, pairs, ends, knows) in table {
            assert_eq!(guard("0.0.0.0", token).may_know(&headers(pairs), ends), knows, "{name}");
        }
    }

    #[test]
    fn health_on_loopback_is_for_names_of_this_host() {
        let bearer = [("host", "cams.example"), ("authorization", "Bearer s3cret")];
        let table: [Open; 5] = [
            ("127.0.0.1", &[("host", "localhost:80")], Ok(())),
            ("127.0.0.1", &[("host", "evil.example")], Err(Refusal::Foreign)),
            ("127.0.0.1", &[], Err(Refusal::Foreign)),
            ("127.0.0.1", &bearer, Ok(())),
            ("0.0.0.0", &[("host", "a-scraper.example")], Ok(())),
        ];
        for (listener, pairs, expected) in table {
            let guard = guard(listener, Some("s3cret"));
            assert_eq!(guard.check_open(&headers(pairs), here()), expected, "{listener} {pairs:?}");
        }
    }

    #[test]
    fn a_cookie_opens_one_process_and_one_port_only() {
        let (lock, now) = (lock(), Instant::now());
        let session = lock.sessions.open(now);
        let sent = |host: &str, name: &str| {
            let value = format!("other=1; {name}={session}");
            headers(&[("host", host), ("cookie", &value)])
        };
        for (host, name, expected) in [
            ("cams.example:8080", "kvs_infer_8080", Ok(())),
            ("cams.example", "kvs_infer", Ok(())),
            ("cams.example:8081", "kvs_infer_8080", Err(Refusal::SignIn)),
        ] {
            assert_eq!(lock.check(&sent(host, name), there(), now), expected, "{host}");
        }
        let other = Lock::new("s3cret").check(&sent("cams.example", "kvs_infer"), there(), now);
        assert_eq!(other, Err(Refusal::SignIn));
        assert!(!session.contains("s3cret"));
    }

    /// Once the right token was refused too after ten wrong ones. That let anybody who reaches the port lock out those who
    /// know it, and is no loss: digests of 256 bits are compared, and a token of 16 characters is not found at any rate.
    #[test]
    fn guessing_slows_nobody_down_who_knows_the_token() {
        let (lock, now) = (lock(), Instant::now());
        for _ in 0..10 {
            assert_eq!(lock.check_token(b"guess", there(), now), Err(Refusal::WrongToken));
        }
        assert_eq!(lock.check_token(b"guess", there(), now), Err(Refusal::TooManyTries));
        assert_eq!(lock.check_token(b"s3cret", there(), now), Ok(()));
        assert_eq!(lock.check_token(b"guess", here(), now), Err(Refusal::WrongToken), "another address");
    }

    #[test]
    fn cookies_are_for_https_where_a_proxy_says_so() {
        for (name, value, secure) in [
            ("x-forwarded-proto", "https", true),
            ("x-forwarded-proto", "HTTPS, http", true),
            ("x-forwarded-proto", "http", false),
            ("forwarded", "for=1.2.3.4;proto=https", true),
            ("accept", "https", false),
        ] {
            let cookie = cookie(&headers(&[("host", "cams.example"), (name, value)]), "v", 9);
            assert_eq!(cookie.ends_with("; Secure"), secure, "{cookie}");
            assert!(
                cookie.starts_with("kvs_infer=v; Path=/; Max-Age=9; HttpOnly; SameSite=Strict"),
                "{cookie}"
            );
        }
    }
}
