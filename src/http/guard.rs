//! Access control of the page: live pictures are never open by accident.

use std::time::Instant;

use axum::http::header::{ACCEPT, AUTHORIZATION, COOKIE, HOST, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::endpoints::Endpoints;
use super::reply::error_body;
use super::session::SignInSessions;
use super::token::AccessToken;
use super::views::attribute;
use super::wrong_tokens::WrongTokens;

/// Headers that a proxy adds to a request, beside those that begin with `x-forwarded`.
const PROXY_HEADERS: [&str; 6] =
    ["forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip"];

/// The access rule of a listener.
pub(super) struct Guard {
    pub(super) access: Access,
    on_loopback: bool,
}

/// The clients that may see the page.
pub(super) enum Access {
    /// A listener on loopback without a token: clients of this host, by a name of this host.
    Host,
    /// Clients that know the token.
    Token(Box<TokenCheck>),
    /// No client: there is no token, and other hosts reach the listener.
    Closed,
}

/// The digest of the token, and the sessions that were opened with it.
pub(super) struct TokenCheck {
    /// Random per process, so that the digest reveals nothing about the token.
    key: [u8; 32],
    digest: [u8; 32],
    pub(super) sessions: SignInSessions,
    wrong: WrongTokens,
}

/// The reason why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccessRefusal {
    /// A page of another site asks, or the host name is not one of this host (DNS rebinding).
    Foreign,
    /// A proxy forwarded the request, and there is no token.
    Forwarded,
    /// The page is closed.
    Closed,
    /// There is no token and no valid session.
    SignIn,
    /// The token is wrong.
    WrongToken,
    /// The address has sent too many wrong tokens.
    TooManyTries,
}

impl Guard {
    pub(super) fn new(listener: std::net::IpAddr, token: Option<&AccessToken>) -> Self {
        let on_loopback = listener.to_canonical().is_loopback();
        let access = match token {
            Some(token) => Access::Token(Box::new(TokenCheck::new(token.secret()))),
            None if on_loopback => Access::Host,
            None => Access::Closed,
        };
        Self { access, on_loopback }
    }

    /// Returns a description of the clients that may see the page, for the log.
    pub(super) fn access(&self) -> &'static str {
        match self.access {
            Access::Host => "this host only",
            Access::Token(_) => "clients with HTTP_TOKEN",
            Access::Closed => "closed: HTTP_TOKEN is not set (health and metrics are open)",
        }
    }

    /// Returns whether there is a token, so that users sign in and out.
    pub(super) fn has_token(&self) -> bool {
        matches!(self.access, Access::Token(_))
    }

    /// Logs the number of wrong tokens since the last log line, at most once per minute.
    pub(super) fn report(&self) {
        if let Access::Token(check) = &self.access {
            check.wrong.report(Instant::now());
        }
    }

    /// Checks a request for the page, its API or a picture.
    pub(super) fn check(&self, headers: &HeaderMap, endpoints: Endpoints) -> Result<(), AccessRefusal> {
        // Before everything else: a cookie must not open the page to another site that embeds it.
        if is_of_another_site(headers) {
            return Err(AccessRefusal::Foreign);
        }
        match &self.access {
            Access::Closed => Err(AccessRefusal::Closed),
            // A reverse proxy makes every client look like this host.
            Access::Host if is_forwarded(headers) => Err(AccessRefusal::Forwarded),
            Access::Host if names_this_host(headers, endpoints) => Ok(()),
            Access::Host => Err(AccessRefusal::Foreign),
            Access::Token(check) => check.check(headers, endpoints, Instant::now()),
        }
    }

    /// Checks a request for health or metrics. A listener on loopback answers only to names of this host, so that no page of another
    /// site reads them by DNS rebinding.
    pub(super) fn check_open(&self, headers: &HeaderMap, endpoints: Endpoints) -> Result<(), AccessRefusal> {
        let is_open =
            !self.on_loopback || names_this_host(headers, endpoints) || self.knows_token(headers, endpoints);
        is_open.then_some(()).ok_or(AccessRefusal::Foreign)
    }

    /// Returns whether a request may see the reasons of `/healthz`: with the token, or from this host.
    pub(super) fn may_see_reasons(&self, headers: &HeaderMap, endpoints: Endpoints) -> bool {
        let is_here = endpoints.are_of_this_host()
            && names_this_host(headers, endpoints)
            && !is_forwarded(headers)
            && !is_of_another_site(headers);
        is_here || self.knows_token(headers, endpoints)
    }

    fn knows_token(&self, headers: &HeaderMap, endpoints: Endpoints) -> bool {
        match &self.access {
            Access::Token(check) => check.check(headers, endpoints, Instant::now()).is_ok(),
            Access::Host | Access::Closed => false,
        }
    }
}

impl TokenCheck {
    fn new(token: &str) -> Self {
        let key: [u8; 32] = rand::random();
        let sessions = SignInSessions::new(rand::random(), Instant::now());
        Self { key, digest: digest(&key, token.as_bytes()), sessions, wrong: WrongTokens::default() }
    }

    fn check(&self, headers: &HeaderMap, endpoints: Endpoints, now: Instant) -> Result<(), AccessRefusal> {
        // The cookie first: it costs no try of the address.
        if cookies(headers).any(|cookie| self.sessions.is_open(cookie, now)) {
            return Ok(());
        }
        bearer(headers).map_or(Err(AccessRefusal::SignIn), |token| self.check_token(token, endpoints, now))
    }

    /// Checks a token by its digest, so that the time depends neither on its length nor on the first difference.
    ///
    /// The right token passes however many wrong ones came before: otherwise any client that reaches the port could lock out those who
    /// know it. Delaying the right guess as well would add nothing, since a token of 16 characters or more cannot be guessed; the log
    /// warns of a shorter one.
    pub(super) fn check_token(
        &self,
        tried: &[u8],
        endpoints: Endpoints,
        now: Instant,
    ) -> Result<(), AccessRefusal> {
        if digest(&self.key, tried).ct_eq(&self.digest).into() {
            return Ok(());
        }
        let too_many = self.wrong.count(endpoints.peer, now);
        Err(if too_many { AccessRefusal::TooManyTries } else { AccessRefusal::WrongToken })
    }
}

impl AccessRefusal {
    fn status(self) -> StatusCode {
        match self {
            Self::Foreign | Self::Forwarded | Self::Closed => StatusCode::FORBIDDEN,
            Self::SignIn | Self::WrongToken => StatusCode::UNAUTHORIZED,
            Self::TooManyTries => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// Returns the text for the user.
    fn words(self) -> &'static str {
        match self {
            Self::Foreign => {
                "This listener is on loopback and answers only to localhost, 127.0.0.1 and [::1], and not to other sites. \
                 To reach it by another name, set HTTP_TOKEN and send it."
            }
            Self::Forwarded => {
                "This request came through a proxy (it has Forwarded, X-Forwarded-..., X-Real-IP or Via), and HTTP_TOKEN is not \
                 set: live pictures are never open by accident. Set HTTP_TOKEN and restart, or connect without the proxy."
            }
            Self::Closed => {
                "HTTP_TOKEN is not set, and this listener is not on loopback: live pictures are never open by accident. \
                 Set HTTP_TOKEN and restart, or listen on 127.0.0.1 (HTTP_HOST). /healthz, /readyz and /metrics are open."
            }
            Self::SignIn => "Sign in with HTTP_TOKEN, or send it as a header: Authorization: Bearer ...",
            Self::WrongToken => "Wrong token.",
            Self::TooManyTries => {
                "Wrong token, and too many wrong ones before it. Wait a few seconds and try again."
            }
        }
    }

    /// Returns the answer: HTML for a browser, JSON for a program. A sign-in returns to `wanted`, the address of a view.
    pub(super) fn answer(self, headers: &HeaderMap, wanted: &str) -> Response {
        let is_browser = text(headers, ACCEPT.as_str()).is_some_and(|kinds| kinds.contains("text/html"));
        let (status, words) = (self.status(), self.words());
        let sign_in = include_str!("page/sign_in.html");
        let mut response = match (is_browser, self) {
            (false, _) => (status, error_body(words)).into_response(),
            (true, Self::Foreign | Self::Forwarded | Self::Closed) => {
                (status, page(include_str!("page/refused.html"), words, wanted)).into_response()
            }
            (true, Self::SignIn) if is_link_of_another_site(headers) => {
                (status, page(include_str!("page/follow.html"), "", wanted)).into_response()
            }
            (true, Self::SignIn) => (status, page(sign_in, "", wanted)).into_response(),
            (true, _) => (status, page(sign_in, words, wanted)).into_response(),
        };
        if let Some((name, value)) = self.challenge() {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// Returns the header with the way or the time of another try.
    fn challenge(self) -> Option<(HeaderName, &'static str)> {
        match self {
            Self::TooManyTries => Some((RETRY_AFTER, "2")),
            // An answer of 401 has to name a scheme (RFC 9110 section 11.6.1).
            Self::SignIn | Self::WrongToken => Some((WWW_AUTHENTICATE, "Bearer realm=\"kvs-infer\"")),
            Self::Foreign | Self::Forwarded | Self::Closed => None,
        }
    }
}

/// Returns the value of a `Set-Cookie` header; 0 seconds deletes the cookie.
pub(super) fn cookie(headers: &HeaderMap, value: &str, seconds: u64) -> String {
    // A `Secure` cookie would be dropped on plain HTTP, which is how the page is served without a proxy.
    let secure = if is_by_https(headers) { "; Secure" } else { "" };
    let name = cookie_name(headers);
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

/// Returns whether a proxy reports that the client connected by https, so that the cookie must be `Secure`.
fn is_by_https(headers: &HeaderMap) -> bool {
    let proto = text(headers, "x-forwarded-proto").and_then(|protos| protos.split(',').next());
    let forwarded = text(headers, "forwarded").unwrap_or_default().to_ascii_lowercase();
    proto.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"))
        || forwarded.contains("proto=https")
        || forwarded.contains("proto=\"https\"")
}

/// Returns the name of the cookie with the port of the request: browsers send a cookie to all ports of a host, and two services there
/// must not sign each other out.
fn cookie_name(headers: &HeaderMap) -> String {
    let port = text(headers, HOST.as_str()).and_then(|host| host.rsplit_once(':')).map(|(_, port)| port);
    match port.and_then(|port| port.parse::<u16>().ok()) {
        Some(port) => format!("kvs_infer_{port}"),
        None => "kvs_infer".to_owned(),
    }
}

/// Returns the values of all cookies of this service: a browser may send one for each of several paths or domains.
pub(super) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let wanted = cookie_name(headers);
    let pairs = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    pairs
        .flat_map(|pairs| pairs.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter_map(move |(name, value)| (name == wanted).then_some(value))
}

/// Returns the token of an `Authorization` header (RFC 6750 section 2.1), as bytes, since curl sends UTF-8 there.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    // The scheme is case-insensitive (RFC 9110 section 11.1).
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Returns whether a page of another site sent the request, other than by a link that a user followed.
pub(super) fn is_of_another_site(headers: &HeaderMap) -> bool {
    // Browsers set these headers, and scripts cannot (W3C Fetch Metadata Request Headers).
    text(headers, "sec-fetch-site") == Some("cross-site")
        && text(headers, "sec-fetch-mode") != Some("navigate")
}

/// Returns whether a user followed a link of another site. Browsers send no `SameSite=Strict` cookie then, so that the user may be signed
/// in all the same: a page of this site that opens the address again shows it.
fn is_link_of_another_site(headers: &HeaderMap) -> bool {
    text(headers, "sec-fetch-site") == Some("cross-site")
        && text(headers, "sec-fetch-mode") == Some("navigate")
}

/// Returns whether a proxy forwarded the request.
fn is_forwarded(headers: &HeaderMap) -> bool {
    let is_of_proxy = |name: &str| PROXY_HEADERS.contains(&name) || name.starts_with("x-forwarded");
    headers.keys().any(|name| is_of_proxy(name.as_str()))
}

fn names_this_host(headers: &HeaderMap, endpoints: Endpoints) -> bool {
    text(headers, HOST.as_str()).is_some_and(|host| endpoints.are_named_by(host))
}

fn page(template: &str, words: &str, wanted: &str) -> Html<String> {
    // The client's text comes last: it may contain the name of another place.
    Html(template.replace("{{words}}", words).replace("{{next}}", &attribute(wanted)))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Returns the digest of a token. The key has a fixed length, so that no other pair of key and token gives the same input.
fn digest(key: &[u8; 32], token: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(key).chain_update(token).finalize().into()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::AccessRefusal as Refusal;
    use super::*;

    /// Name, listener, token, headers, answer.
    type Case<'a> = (&'a str, &'a str, Option<&'a str>, Pairs<'a>, Result<(), Refusal>);
    /// Name, token, headers, endpoints, whether the reasons may be seen.
    type ReasonCase<'a> = (&'a str, Option<&'a str>, Pairs<'a>, Endpoints, bool);
    /// Listener, headers, answer.
    type Open<'a> = (&'a str, Pairs<'a>, Result<(), Refusal>);
    /// Names and values of headers.
    type Pairs<'a> = &'a [(&'a str, &'a str)];

    /// Returns the endpoints of a connection from this host.
    fn here() -> Endpoints {
        Endpoints { peer: "127.0.0.1".parse().unwrap(), local: "127.0.0.1".parse().unwrap() }
    }

    /// Returns the endpoints of a connection from another host.
    fn there() -> Endpoints {
        Endpoints { peer: "10.0.0.7".parse().unwrap(), local: "10.0.0.1".parse().unwrap() }
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

    fn token_check() -> TokenCheck {
        TokenCheck::new("s3cret")
    }

    #[test]
    fn requests_are_let_in_or_refused() {
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
            ("a token with the line feed of its file", elsewhere, Some("\u{feff}s3cret\r\n"), bearer, Ok(())),
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
    fn reasons_are_for_the_token_and_for_this_host() {
        let (local, other) = ([("host", "127.0.0.1:8080")], [("host", "cams.example")]);
        let forwarded = [local[0], ("via", "1.1 nginx")];
        let bearer = [other[0], ("authorization", "Bearer s3cret")];
        let by_address = [("host", "10.0.0.1:8080")];
        let own_address = Endpoints { peer: there().local, ..there() };
        let table: [ReasonCase; 8] = [
            ("the container's check", None, &local, here(), true),
            ("the same by HTTP_HOST", None, &by_address, own_address, true),
            ("the same with a token", Some("s3cret"), &local, here(), true),
            ("a rebound name", None, &other, here(), false),
            ("by a proxy of this host", None, &forwarded, here(), false),
            ("from elsewhere, by a false name", None, &local, there(), false),
            ("from elsewhere", Some("s3cret"), &other, there(), false),
            ("from elsewhere with the token", Some("s3cret"), &bearer, there(), true),
        ];
        for (name, token, pairs, endpoints, sees) in table {
            assert_eq!(guard("0.0.0.0", token).may_see_reasons(&headers(pairs), endpoints), sees, "{name}");
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
        let (check, now) = (token_check(), Instant::now());
        let session = check.sessions.open(now);
        let sent = |host: &str, name: &str| {
            let value = format!("other=1; {name}={session}");
            headers(&[("host", host), ("cookie", &value)])
        };
        for (host, name, expected) in [
            ("cams.example:8080", "kvs_infer_8080", Ok(())),
            ("cams.example", "kvs_infer", Ok(())),
            ("cams.example:8081", "kvs_infer_8080", Err(Refusal::SignIn)),
        ] {
            assert_eq!(check.check(&sent(host, name), there(), now), expected, "{host}");
        }
        let other = TokenCheck::new("s3cret").check(&sent("cams.example", "kvs_infer"), there(), now);
        assert_eq!(other, Err(Refusal::SignIn));
        assert!(!session.contains("s3cret"));
    }

    /// An earlier version refused the right token as well after ten wrong ones, so that any client that reached the port could lock out
    /// those who know it. Nothing is lost without that: a token of 16 characters cannot be guessed at any rate.
    #[test]
    fn guessing_does_not_lock_out_clients_with_the_token() {
        let (check, now) = (token_check(), Instant::now());
        for _ in 0..10 {
            assert_eq!(check.check_token(b"guess", there(), now), Err(Refusal::WrongToken));
        }
        assert_eq!(check.check_token(b"guess", there(), now), Err(Refusal::TooManyTries));
        assert_eq!(check.check_token(b"s3cret", there(), now), Ok(()));
        assert_eq!(check.check_token(b"guess", here(), now), Err(Refusal::WrongToken), "another address");
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
