//! Sign-ins: a cookie each, signed by the process, with an end that the service keeps to.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Lifetime of a sign-in.
pub(super) const LASTS: Duration = Duration::from_secs(12 * 3600);

/// Sign-outs that are remembered until their cookies would have ended anyway.
const SIGN_OUTS_KEPT: usize = 1024;

/// The sign-ins of this process. Cookies of another process are worth nothing here.
pub(super) struct Sessions {
    key: [u8; 32],
    started: Instant,
    signed_out: Mutex<BTreeSet<Session>>,
}

/// A sign-in as its cookie has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Session {
    /// Seconds since the process started, by the monotonic clock: setting the host's clock does not prolong it.
    ends_s: u64,
    /// Random: no two sign-ins have the same cookie.
    number: u128,
}

impl Sessions {
    pub(super) fn new(key: [u8; 32], started: Instant) -> Self {
        Self { key, started, signed_out: Mutex::default() }
    }

    /// Returns the value of the cookie of a new sign-in.
    pub(super) fn open(&self, now: Instant) -> String {
        let session = Session { ends_s: self.seconds(now) + LASTS.as_secs(), number: rand::random() };
        format!("{:x}.{:032x}.{}", session.ends_s, session.number, self.signature(session))
    }

    /// Returns `true` where the cookie is of this process, has not ended and was not signed out.
    pub(super) fn is_open(&self, cookie: &str, now: Instant) -> bool {
        let Some(session) = self.read(cookie) else { return false };
        let signed_out = self.signed_out.lock().unwrap_or_else(PoisonError::into_inner);
        session.ends_s > self.seconds(now) && !signed_out.contains(&session)
    }

    /// Ends the sign-in of the cookie.
    pub(super) fn close(&self, cookie: &str, now: Instant) {
        let Some(session) = self.read(cookie) else { return };
        let now_s = self.seconds(now);
        let mut signed_out = self.signed_out.lock().unwrap_or_else(PoisonError::into_inner);
        signed_out.retain(|session| session.ends_s > now_s);
        signed_out.insert(session);
        if signed_out.len() > SIGN_OUTS_KEPT {
            signed_out.pop_first();
        }
    }

    fn read(&self, cookie: &str) -> Option<Session> {
        let mut parts = cookie.splitn(3, '.');
        let (ends, number, signature) = (parts.next()?, parts.next()?, parts.next()?);
        let session = Session {
            ends_s: u64::from_str_radix(ends, 16).ok()?,
            number: u128::from_str_radix(number, 16).ok()?,
        };
        let expected = self.signature(session);
        bool::from(signature.as_bytes().ct_eq(expected.as_bytes())).then_some(session)
    }

    /// A digest of a digest, both keyed: nothing can be appended to what is signed.
    fn signature(&self, session: Session) -> String {
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
    fn a_sign_in_ends_by_itself_by_a_sign_out_and_with_the_process() {
        let start = Instant::now();
        let sessions = Sessions::new([7; 32], start);
        let (one, two) = (sessions.open(start), sessions.open(start));
        assert_ne!(one, two);
        assert!(
            sessions.is_open(&one, start) && sessions.is_open(&two, start + LASTS - Duration::from_secs(1))
        );
        assert!(!sessions.is_open(&one, start + LASTS));
        assert!(!Sessions::new([8; 32], start).is_open(&one, start), "of another process");
        sessions.close(&one, start);
        assert!(!sessions.is_open(&one, start) && sessions.is_open(&two, start));
    }

    #[test]
    fn a_cookie_that_was_changed_opens_nothing() {
        let start = Instant::now();
        let sessions = Sessions::new([7; 32], start);
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
    fn sign_outs_are_forgotten_once_their_cookies_have_ended() {
        let start = Instant::now();
        let sessions = Sessions::new([7; 32], start);
        for _ in 0..SIGN_OUTS_KEPT + 10 {
            sessions.close(&sessions.open(start), start);
        }
        let kept = || sessions.signed_out.lock().unwrap().len();
        assert_eq!(kept(), SIGN_OUTS_KEPT);
        let later = start + LASTS + Duration::from_secs(1);
        sessions.close(&sessions.open(later), later);
        assert_eq!(kept(), 1);
    }
}
