//! The two endpoints of a connection, and whether the peer is on this host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The two IP addresses of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoints {
    pub(super) peer: IpAddr,
    pub(super) local: IpAddr,
}

impl Endpoints {
    pub(super) fn new(peer: SocketAddr, local: SocketAddr) -> Self {
        // A listener on `::` shows an IPv4 peer as `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2).
        Self { peer: peer.ip().to_canonical(), local: local.ip().to_canonical() }
    }

    /// Returns whether the peer is on this host: its address is 127.0.0.1 or ::1, or both endpoints have the same address, as where the
    /// container's health check connects to the address of `HTTP_HOST`. A packet of another host has neither.
    pub(super) fn are_of_this_host(self) -> bool {
        self.peer == self.local
            || self.peer == IpAddr::V4(Ipv4Addr::LOCALHOST)
            || self.peer == IpAddr::V6(Ipv6Addr::LOCALHOST)
    }

    /// Returns whether a `Host` header names this host: `localhost`, a loopback address, or the local address of the connection. DNS
    /// rebinding cannot produce any of these names.
    pub(super) fn are_named_by(self, host: &str) -> bool {
        // An IPv6 address without a port has colons too, hence the digits.
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

/// Returns the network that counts as one peer: an IPv4 address, or the /64 of an IPv6 address, all of which one host can use.
pub(super) fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        // The interface identifier is the lower half (RFC 4291 section 2.5.4).
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(peer: &str, local: &str) -> Endpoints {
        let address = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 80);
        Endpoints::new(address(peer), address(local))
    }

    #[test]
    fn peers_of_this_host() {
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
            assert_eq!(endpoints(peer, local).are_of_this_host(), own, "{peer} -> {local}");
        }
    }

    #[test]
    fn names_of_this_host() {
        let endpoints = endpoints("10.9.9.1", "10.9.9.1");
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:80", "127.0.0.2", "[::1]:80", "10.9.9.1:7080"]
        {
            assert!(endpoints.are_named_by(host), "{host}");
        }
        for host in
            ["", "evil.example:8080", "localhost.evil.example", "10.9.9.2", "127.0.0.1.evil.example", "[::1"]
        {
            assert!(!endpoints.are_named_by(host), "{host}");
        }
    }

    #[test]
    fn a_host_has_a_whole_network_of_ipv6() {
        let of = |ip: &str| network_of(ip.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:10.0.0.1"), "10.0.0.1");
    }
}
