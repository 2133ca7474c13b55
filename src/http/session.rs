//! Sign-in sessions: cookies that the process signs and that expire on the server.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::base::lock;

/// The lifetime of a session.
pub(super) const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Maximum number of ended sessions that are remembered until they would have expired.
const MAX_SIGN_OUTS: usize = 1024;

/// The sessions of this process. Cookies of another process are not valid here.
pub(super) struct SignInSessions {
    key: [u8; 32],
    started: Instant,
    signed_out: Mutex<BTreeSet<SignInSession>>,
}

/// A session as its cookie encodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SignInSession {
    /// Expiry, seconds since the process started by the monotonic clock, so that setting the host's clock does not extend it.
    ends_s: u64,
    /// Random, so that no two sessions have the same cookie.
    number: u128,
}

impl SignInSessions {
    pub(super) fn new(key: [u8; 32], started: Instant) -> Self {
        Self { key, started, signed_out: Mutex::default() }
    }

    /// Opens a session and returns the value of its cookie.
    pub(super) fn open(&self, now: Instant) -> String {
        let session =
            SignInSession { ends_s: self.seconds(now) + LIFETIME.as_secs(), number: rand::random() };
        format!("{:x}.{:032x}.{}", session.ends_s, session.number, self.signature(session))
    }

    /// Returns whether the cookie belongs to this process, has not expired and was not signed out.
    pub(super) fn is_open(&self, cookie: &str, now: Instant) -> bool {
        let Some(session) = self.read(cookie) else { return false };
        let signed_out = lock(&self.signed_out);
        session.ends_s > self.seconds(now) && !signed_out.contains(&session)
    }

    /// Ends the session of the cookie.
    pub(super) fn close(&self, cookie: &str, now: Instant) {
        let Some(session) = self.read(cookie) else { return };
        let now_s = self.seconds(now);
        let mut signed_out = lock(&self.signed_out);
        // Expired cookies are not valid anyway.
        signed_out.retain(|session| session.ends_s > now_s);
        signed_out.insert(session);
        // The set is sorted by expiry: the first one expires next.
        if signed_out.len() > MAX_SIGN_OUTS {
            signed_out.pop_first();
        }
    }

    /// Returns the session of a cookie with a valid signature, expired or not.
    fn read(&self, cookie: &str) -> Option<SignInSession> {
        // The format is EXPIRY.NUMBER.SIGNATURE, both numbers in hex.
        let mut parts = cookie.splitn(3, '.');
        let (ends, number, signature) = (parts.next()?, parts.next()?, parts.next()?);
        let session = SignInSession {
            ends_s: u64::from_str_radix(ends, 16).ok()?,
            number: u128::from_str_radix(number, 16).ok()?,
        };
        let expected = self.signature(session);
        bool::from(signature.as_bytes().ct_eq(expected.as_bytes())).then_some(session)
    }

    /// Returns the signature: a keyed digest of a keyed digest, as in HMAC, which rules out length extension.
    fn signature(&self, session: SignInSession) -> String {
        let keyed = |part: &[u8]| Sha256::new().chain_update(self.key).chain_update(part).finalize();
        let inner = keyed(format!("session {:x} {:x}", session.ends_s, session.number).as_bytes());
        keyed(&inner).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_by_expiry_by_sign_out_and_with_the_process() {
        let start = Instant::now();
        let sessions = SignInSessions::new([7; 32], start);
        let (one, two) = (sessions.open(start), sessions.open(start));
        assert_ne!(one, two);
        assert!(
            sessions.is_open(&one, start)
                && sessions.is_open(&two, start + LIFETIME - Duration::from_secs(1))
        );
        assert!(!sessions.is_open(&one, start + LIFETIME));
        assert!(!SignInSessions::new([8; 32], start).is_open(&one, start), "of another process");
        sessions.close(&one, start);
        assert!(!sessions.is_open(&one, start) && sessions.is_open(&two, start));
    }

    #[test]
    fn a_modified_cookie_is_not_valid() {
        let start = Instant::now();
        let sessions = SignInSessions::new([7; 32], start);
        let cookie = sessions.open(start);
        let (ends, rest) = cookie.split_once('.').unwrap();
        for changed in [
            format!("f{ends}.{rest}"),
            format!("{cookie}0"),
            cookie[..cookie.len() - 1].to_owned(),
            format!("{ends}..{rest}"),
            String::new(),
            "..".to_owned(),
        ] {
            assert!(!sessions.is_open(&changed, start), "{changed}");
        }
    }

    #[test]
    fn sign_outs_are_forgotten_once_their_cookies_have_expired() {
        let start = Instant::now();
        let sessions = SignInSessions::new([7; 32], start);
        for _ in 0..MAX_SIGN_OUTS + 10 {
            sessions.close(&sessions.open(start), start);
        }
        let kept = || sessions.signed_out.lock().unwrap().len();
        assert_eq!(kept(), MAX_SIGN_OUTS);
        let later = start + LIFETIME + Duration::from_secs(1);
        sessions.close(&sessions.open(later), later);
        assert_eq!(kept(), 1);
    }
}
