//! The two ends of a connection, and who is at the other one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Both addresses of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) peer: IpAddr,
    pub(super) local: IpAddr,
}

impl Ends {
    pub(super) fn new(peer: SocketAddr, local: SocketAddr) -> Self {
        Self { peer: peer.ip().to_canonical(), local: local.ip().to_canonical() }
    }

    /// Returns `true` where the other end is on this host: it comes from 127.0.0.1 or ::1, or both ends have the same
    /// address, as where the container's check asks the address of `HTTP_HOST`. No packet from elsewhere has either.
    pub(super) fn are_of_this_host(self) -> bool {
        self.peer == self.local
            || self.peer == IpAddr::V4(Ipv4Addr::LOCALHOST)
            || self.peer == IpAddr::V6(Ipv6Addr::LOCALHOST)
    }

    /// Returns `true` where a `Host` header names this host: `localhost`, an address of loopback, or the address that was
    /// connected to. No other site's name can point at those.
    pub(super) fn are_named_by(self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let address = bare.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        name.eq_ignore_ascii_case("localhost")
            || address.is_some_and(|ip| ip.is_loopback() || ip == self.local)
    }
}

/// Returns what counts as one peer: an IPv4 address, or the /64 of an IPv6 address, of which one host may have any.
pub(super) fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(peer: &str, local: &str) -> Ends {
        let address = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 80);
        Ends::new(address(peer), address(local))
    }

    #[test]
    fn who_is_of_this_host() {
        for (peer, local, own) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.5", true),
            ("::1", "::1", true),
            ("::ffff:127.0.0.1", "::ffff:127.0.0.1", true),
            ("10.9.9.1", "10.9.9.1", true),
            ("10.9.9.2", "10.9.9.1", false),
            ("127.0.0.2", "127.0.0.1", false),
            ("2001:db8::1", "2001:db8::1", true),
            ("2001:db8::2", "2001:db8::1", false),
        ] {
            assert_eq!(ends(peer, local).are_of_this_host(), own, "{peer} -> {local}");
        }
    }

    #[test]
    fn names_of_this_host() {
        let ends = ends("10.9.9.1", "10.9.9.1");
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:80", "127.0.0.2", "[::1]:80", "10.9.9.1:7080"]
        {
            assert!(ends.are_named_by(host), "{host}");
        }
        for host in
            ["", "evil.example:8080", "localhost.evil.example", "10.9.9.2", "127.0.0.1.evil.example", "[::1"]
        {
            assert!(!ends.are_named_by(host), "{host}");
        }
    }

    #[test]
    fn a_host_has_a_whole_network_of_ipv6() {
        let of = |ip: &str| network_of(ip.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:10.0.0.1"), "10.0.0.1");
    }
}
