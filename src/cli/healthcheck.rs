//! `healthcheck`: the command that the container's health check runs.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::Deserialize;

/// Requests /healthz of the service on this host: exit code 0 if it is alive, 1 if a restart would help.
#[derive(Clone, Debug, clap::Args)]
pub struct HealthcheckArgs {
    /// Address on which the service listens; 0.0.0.0 and :: are requested on loopback
    #[arg(long, env = "HTTP_HOST", default_value = "127.0.0.1", value_parser = host)]
    pub host: IpAddr,
    /// Port on which the service listens
    #[arg(long, env = "HTTP_PORT", default_value_t = 8080)]
    pub port: u16,
    /// Timeout, seconds; without an answer the exit code is 1
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub timeout_seconds: u64,
    /// Also exit with 1 while the service is starting, until its models are loaded; no effect afterwards
    #[arg(long)]
    pub ready: bool,
}

/// The answer of `/healthz`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HealthAnswer {
    /// `ok`, `degraded` or `failed`.
    pub status: String,
    /// Faults, a line each.
    pub reasons: Vec<String>,
    /// `true` unless a restart would help.
    #[serde(skip)]
    pub alive: bool,
}

/// The answer of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct ReadyAnswer {
    /// `starting`, `ready` or `stopping`.
    status: String,
    /// The models that are being fetched or loaded.
    #[serde(default)]
    loading: Vec<String>,
}

/// The service gave no answer, so it should be restarted.
#[derive(Debug, thiserror::Error)]
pub enum HealthcheckError {
    /// No server listens at the address, or the answer did not arrive in time.
    #[error(
        "no answer from http://{addr}{path} within {timeout_seconds} s: {source}; check that kvs-infer runs there"
    )]
    NoAnswer {
        /// Address of the request.
        addr: SocketAddr,
        /// Path of the request.
        path: &'static str,
        /// Timeout, seconds.
        timeout_seconds: u64,
        /// Error of the operating system.
        source: io::Error,
    },
    /// Another program answered, and not with success.
    #[error("http://{addr}{path} is not of kvs-infer: {reason}; set HTTP_PORT to the port of kvs-infer")]
    Foreign {
        /// Address of the request.
        addr: SocketAddr,
        /// Path of the request.
        path: &'static str,
        /// The first mistake in the answer.
        reason: String,
    },
}

impl fmt::Display for HealthAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        self.reasons.iter().try_for_each(|reason| write!(f, "\n  {reason}"))
    }
}

/// Maximum number of bytes that are read of an answer. The reasons at its end are also logged.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Makes one request, writes the answer to `out`, and returns `true` if the service is alive.
///
/// # Errors
/// `out` cannot be written.
pub fn run(args: &HealthcheckArgs, out: &mut impl Write) -> io::Result<bool> {
    match ask(args) {
        Ok(answer) => writeln!(out, "{answer}").map(|()| answer.alive),
        Err(error) => writeln!(out, "{error}").map(|()| false),
    }
}

/// Requests `/healthz`, with `ready` after `/readyz`. One timeout applies to both.
///
/// # Errors
/// There is no answer in time, or it is of another program.
pub fn ask(args: &HealthcheckArgs) -> Result<HealthAnswer, HealthcheckError> {
    let deadline = Instant::now() + Duration::from_secs(args.timeout_seconds);
    if args.ready {
        let answer = ask_path(args, "/readyz", deadline, readiness)?;
        // Only while starting. A service that is stopping or overloaded must not be killed, unless /healthz says so.
        if let Some(ReadyAnswer { status, loading }) = answer.filter(|answer| answer.status == "starting") {
            return Ok(HealthAnswer { status, reasons: loading, alive: false });
        }
    }
    ask_path(args, "/healthz", deadline, health)
}

/// Makes one request and returns its answer, parsed by `read`.
fn ask_path<T>(
    args: &HealthcheckArgs,
    path: &'static str,
    deadline: Instant,
    read: fn(&[u8]) -> Result<T, String>,
) -> Result<T, HealthcheckError> {
    let addr = SocketAddr::new(reachable(args.host), args.port);
    let timeout_seconds = args.timeout_seconds;
    let no_answer = |source| HealthcheckError::NoAnswer { addr, path, timeout_seconds, source };
    let reply = fetch(addr, path, deadline).map_err(no_answer)?;
    read(&reply).map_err(|reason| HealthcheckError::Foreign { addr, path, reason })
}

fn host(text: &str) -> Result<IpAddr, String> {
    match text {
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        address => address.parse().map_err(|_| "give an IP address, such as 127.0.0.1".to_owned()),
    }
}

/// Returns the address at which a server that listens on `host` can be reached.
fn reachable(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        named => named,
    }
}

/// Makes one request on a new connection, which the server closes after the answer.
///
/// The status line decides, so an answer that does not end in time, or is too long, is returned as far as it was read.
fn fetch(addr: SocketAddr, path: &str, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut stream = request(addr, path, deadline)?;
    let (mut reply, mut part) = (Vec::new(), [0; 4096]);
    loop {
        stream.set_read_timeout(Some(time_left(deadline)))?;
        match stream.read(&mut part) {
            Ok(0) => return Ok(reply),
            Ok(got) => reply.extend_from_slice(&part[..got]),
            Err(_) if has_status_line(&reply) => return Ok(reply),
            Err(error) => return Err(error),
        }
        // A server that sends a byte now and then never reaches the read timeout.
        if Instant::now() >= deadline || reply.len() > MAX_ANSWER_BYTES {
            let no_status = || io::Error::new(io::ErrorKind::TimedOut, "the answer has no status line");
            return has_status_line(&reply).then_some(reply).ok_or_else(no_status);
        }
    }
}

/// Connects and sends a request.
fn request(addr: SocketAddr, path: &str, deadline: Instant) -> io::Result<TcpStream> {
    let limit = time_left(deadline);
    let mut stream = TcpStream::connect_timeout(&addr, limit)?;
    stream.set_write_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n")?;
    Ok(stream)
}

/// Returns the time until the deadline, as a timeout of a socket.
fn time_left(deadline: Instant) -> Duration {
    // A timeout of zero is an error of the socket, not an immediate timeout.
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn has_status_line(reply: &[u8]) -> bool {
    reply.windows(2).any(|end| end == b"\r\n")
}

/// Parses the answer of `/healthz`. Its status line alone decides whether the service is alive.
fn health(reply: &[u8]) -> Result<HealthAnswer, String> {
    let (code, body) = parts(reply)?;
    let alive = code == 200;
    match serde_json::from_str::<HealthAnswer>(&body) {
        Ok(answer) => Ok(HealthAnswer { alive, ..answer }),
        Err(error) if alive => {
            let reasons = vec![format!("its reasons cannot be parsed: {error}")];
            Ok(HealthAnswer { status: format!("status {code}"), reasons, alive })
        }
        Err(error) => Err(format!("status {code}, {error}")),
    }
}

/// Parses the answer of `/readyz`. Returns `None` if only its status line can be parsed, which says that the service is ready.
fn readiness(reply: &[u8]) -> Result<Option<ReadyAnswer>, String> {
    let (code, body) = parts(reply)?;
    match serde_json::from_str(&body) {
        Ok(answer) => Ok(Some(answer)),
        // A truncated answer of a service that is ready: the status line is enough.
        Err(_) if code == 200 => Ok(None),
        Err(error) => Err(format!("status {code}, {error}")),
    }
}

/// Splits an answer into its status code and its body.
fn parts(reply: &[u8]) -> Result<(u16, String), String> {
    let reply = String::from_utf8_lossy(reply);
    let (line, _) = reply
        .split_once("\r\n")
        .filter(|(line, _)| line.starts_with("HTTP/"))
        .ok_or("the answer is not HTTP")?;
    // RFC 9112 4: HTTP-version SP status-code SP reason-phrase.
    let code = line.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
    let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((code.ok_or("the answer has no status code")?, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn args(port: u16) -> HealthcheckArgs {
        HealthcheckArgs { host: Ipv4Addr::UNSPECIFIED.into(), port, timeout_seconds: 1, ready: false }
    }

    #[test]
    fn health_answers_are_parsed() {
        let expected =
            |status: &str, alive| HealthAnswer { status: status.into(), reasons: vec!["a".into()], alive };
        let reply = |code: &str, status: &str| {
            format!("HTTP/1.1 {code}\r\nserver: x\r\n\r\n{{\"status\":\"{status}\",\"reasons\":[\"a\"]}}")
        };
        assert_eq!(health(reply("200 OK", "degraded").as_bytes()), Ok(expected("degraded", true)));
        assert_eq!(
            health(reply("503 Service Unavailable", "failed").as_bytes()),
            Ok(expected("failed", false))
        );
        for foreign in
            ["", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 404 Not Found\r\n\r\n<html>", "HTTP/1.1\r\n\r\n{}"]
        {
            assert!(health(foreign.as_bytes()).is_err(), "{foreign:?}");
        }
    }

    #[test]
    fn the_status_line_counts_whatever_follows_it() {
        for (name, reply, alive) in [
            ("a page", "HTTP/1.1 200 OK\r\n\r\n<html>", Some(true)),
            ("truncated in its body", "HTTP/1.1 200 OK\r\n\r\n{\"status\":\"degr", Some(true)),
            ("truncated in its head", "HTTP/1.1 200 OK\r\nserver: x", Some(true)),
            ("a truncated failure", "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"st", None),
        ] {
            assert_eq!(health(reply.as_bytes()).ok().map(|answer| answer.alive), alive, "{name}");
        }
    }

    #[test]
    fn readiness_answers_are_parsed() {
        let starting = ReadyAnswer { status: "starting".into(), loading: vec!["street".into()] };
        for (name, reply, expected) in [
            (
                "starting",
                "HTTP/1.1 503 S\r\n\r\n{\"status\":\"starting\",\"loading\":[\"street\"]}",
                Ok(Some(starting)),
            ),
            ("ready, truncated", "HTTP/1.1 200 OK\r\n\r\n{\"status\":\"rea", Ok(None)),
            ("not ready, truncated", "HTTP/1.1 503 S\r\n\r\n{\"sta", Err(())),
        ] {
            assert_eq!(readiness(reply.as_bytes()).map_err(|_| ()), expected, "{name}");
        }
    }

    #[test]
    fn an_answer_that_is_too_long_or_never_ends_is_used() {
        for (name, body_bytes) in [("too long", 3 << 20), ("never ends", 10)] {
            let server = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = server.local_addr().unwrap().port();
            let answering = std::thread::spawn(move || {
                let (mut stream, _) = server.accept().unwrap();
                // The whole request: closing a socket with unread bytes resets the connection.
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0; 1];
                    stream.read_exact(&mut byte).unwrap();
                    request.extend(byte);
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"status\":\"degraded\",\"reasons\":[\"").unwrap();
                // The client may close the connection before the end.
                let _ = stream.write_all(&vec![b'x'; body_bytes]);
                let _until_closed = stream.read(&mut [0; 1]);
            });
            let (args, mut printed) = (HealthcheckArgs { timeout_seconds: 3, ..args(port) }, Vec::new());
            assert!(run(&args, &mut printed).unwrap(), "{name}: {}", String::from_utf8_lossy(&printed));
            answering.join().unwrap();
        }
    }

    #[test]
    fn without_a_server_the_error_names_the_address() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut printed = Vec::new();
        assert!(!run(&args(free.port()), &mut printed).unwrap());
        let printed = String::from_utf8(printed).unwrap();
        assert!(printed.contains(&format!("no answer from http://{free}/healthz")), "{printed}");
    }

    #[test]
    fn a_server_that_never_answers_is_a_timeout() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = ask(&args(silent.local_addr().unwrap().port())).unwrap_err();
        assert!(matches!(error, HealthcheckError::NoAnswer { timeout_seconds: 1, .. }), "{error}");
    }
}
