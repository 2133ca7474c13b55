//! `kvs-infer healthcheck`: what the container's health check runs.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::Deserialize;

/// Asks the service on this host whether it is alive: exit 0 if it is, 1 if a restart would help.
#[derive(Clone, Debug, clap::Args)]
pub struct HealthcheckArgs {
    /// The address that the service listens on; 0.0.0.0 and :: are asked on loopback
    #[arg(long, env = "HTTP_HOST", default_value = "127.0.0.1", value_parser = host)]
    pub host: IpAddr,
    /// The port that the service listens on
    #[arg(long, env = "HTTP_PORT", default_value_t = 8080)]
    pub port: u16,
    /// Seconds until no answer is an answer
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub timeout_seconds: u64,
    /// Exit 1 also while the service is starting: until its models are loaded. Once it was ready this changes nothing
    #[arg(long)]
    pub ready: bool,
}

/// What the service said.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Answer {
    /// `ok`, `degraded` or `failed`.
    pub status: String,
    /// What is wrong.
    pub reasons: Vec<String>,
    /// Whether the service is to be kept.
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

/// Why there is no answer: the service is not to be kept.
#[derive(Debug, thiserror::Error)]
pub enum HealthcheckError {
    /// Nobody listens there, or nothing came in time.
    #[error(
        "no answer from http://{addr}{path} within {timeout_seconds} s: {source}; does kvs-infer run there?"
    )]
    NoAnswer {
        /// Who was asked.
        addr: SocketAddr,
        /// The path of the request.
        path: &'static str,
        /// How long was waited, seconds.
        timeout_seconds: u64,
        /// What the system says.
        source: io::Error,
    },
    /// Something else answered, and not with success.
    #[error("http://{addr}{path} is not kvs-infer's: {reason}; HTTP_PORT names its port")]
    Foreign {
        /// Who was asked.
        addr: SocketAddr,
        /// The path of the request.
        path: &'static str,
        /// What was wrong.
        reason: String,
    },
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        self.reasons.iter().try_for_each(|reason| write!(f, "\n  {reason}"))
    }
}

/// Bytes of an answer that are read; the rest is for people, and can be looked up elsewhere.
const ANSWER_BYTES: usize = 1 << 20;

/// Asks once, writes what was said to `out`, and gives whether the service is to be kept: exit 0, else 1.
///
/// # Errors
/// `out` cannot be written.
pub fn run(args: &HealthcheckArgs, out: &mut impl Write) -> io::Result<bool> {
    match ask(args) {
        Ok(answer) => writeln!(out, "{answer}").map(|()| answer.alive),
        Err(error) => writeln!(out, "{error}").map(|()| false),
    }
}

/// Asks once; with `ready` first whether the service has started. Both answers must come within the one timeout.
///
/// # Errors
/// No answer comes in time, or one of another program.
pub fn ask(args: &HealthcheckArgs) -> Result<Answer, HealthcheckError> {
    let deadline = Instant::now() + Duration::from_secs(args.timeout_seconds);
    if args.ready {
        let answer = ask_path(args, "/readyz", deadline, readiness)?;
        // Not while it stops, nor while it is overloaded: a service that was ready once is killed by /healthz alone.
        if let Some(ReadyAnswer { status, loading }) = answer.filter(|answer| answer.status == "starting") {
            return Ok(Answer { status, reasons: loading, alive: false });
        }
    }
    ask_path(args, "/healthz", deadline, health)
}

/// Returns what `read` makes of the answer to one request.
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

fn reachable(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        named => named,
    }
}

/// Makes one request over a connection of its own, which the server closes after the answer. The status line decides, so an answer
/// that does not end in time, or is very long, is returned as far as it came.
fn fetch(addr: SocketAddr, path: &str, deadline: Instant) -> io::Result<Vec<u8>> {
    let limit = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut stream = TcpStream::connect_timeout(&addr, limit)?;
    stream.set_write_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n")?;
    let (mut reply, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part) {
            Ok(0) => return Ok(reply),
            Ok(got) => reply.extend_from_slice(&part[..got]),
            Err(_) if has_status_line(&reply) => return Ok(reply),
            Err(error) => return Err(error),
        }
        let is_over = Instant::now() >= deadline || reply.len() > ANSWER_BYTES;
        match has_status_line(&reply) {
            true if is_over => return Ok(reply),
            false if is_over => return Err(io::Error::new(io::ErrorKind::TimedOut, "no status came")),
            _ => {}
        }
    }
}

fn has_status_line(reply: &[u8]) -> bool {
    reply.windows(2).any(|end| end == b"\r\n")
}

/// Returns the answer of `/healthz`. Its status line says whether the service is to be kept, whatever can be read of the rest.
fn health(reply: &[u8]) -> Result<Answer, String> {
    let (code, body) = parts(reply)?;
    let alive = code == 200;
    match serde_json::from_str::<Answer>(&body) {
        Ok(answer) => Ok(Answer { alive, ..answer }),
        Err(error) if alive => {
            let reasons = vec![format!("its reasons cannot be read: {error}")];
            Ok(Answer { status: format!("status {code}"), reasons, alive })
        }
        Err(error) => Err(format!("status {code}, {error}")),
    }
}

/// Returns the answer of `/readyz`; `None` where it cannot be read, but its status line says that the service is ready.
fn readiness(reply: &[u8]) -> Result<Option<ReadyAnswer>, String> {
    let (code, body) = parts(reply)?;
    match serde_json::from_str(&body) {
        Ok(answer) => Ok(Some(answer)),
        Err(_) if code == 200 => Ok(None),
        Err(error) => Err(format!("status {code}, {error}")),
    }
}

/// Returns the status code and the body of an answer.
fn parts(reply: &[u8]) -> Result<(u16, String), String> {
    let reply = String::from_utf8_lossy(reply);
    let (line, _) = reply
        .split_once("\r\n")
        .filter(|(line, _)| line.starts_with("HTTP/"))
        .ok_or("it does not speak HTTP")?;
    let code = line.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
    let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((code.ok_or("it gives no status")?, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn args(port: u16) -> HealthcheckArgs {
        HealthcheckArgs { host: Ipv4Addr::UNSPECIFIED.into(), port, timeout_seconds: 1, ready: false }
    }

    #[test]
    fn answers_are_read() {
        let said = |status: &str, alive| Answer { status: status.into(), reasons: vec!["a".into()], alive };
        let reply = |code: &str, status: &str| {
            format!("HTTP/1.1 {code}\r\nserver: x\r\n\r\n{{\"status\":\"{status}\",\"reasons\":[\"a\"]}}")
        };
        assert_eq!(health(reply("200 OK", "degraded").as_bytes()), Ok(said("degraded", true)));
        assert_eq!(health(reply("503 Service Unavailable", "failed").as_bytes()), Ok(said("failed", false)));
        for foreign in
            ["", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 404 Not Found\r\n\r\n<html>", "HTTP/1.1\r\n\r\n{}"]
        {
            assert!(health(foreign.as_bytes()).is_err(), "{foreign:?}");
        }
    }

    #[test]
    fn the_status_line_counts_whatever_comes_behind_it() {
        for (name, reply, alive) in [
            ("a page", "HTTP/1.1 200 OK\r\n\r\n<html>", Some(true)),
            ("cut in its body", "HTTP/1.1 200 OK\r\n\r\n{\"status\":\"degr", Some(true)),
            ("cut in its head", "HTTP/1.1 200 OK\r\nserver: x", Some(true)),
            ("a failure that is cut", "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"st", None),
        ] {
            assert_eq!(health(reply.as_bytes()).ok().map(|answer| answer.alive), alive, "{name}");
        }
    }

    #[test]
    fn readiness_is_read() {
        let starting = ReadyAnswer { status: "starting".into(), loading: vec!["street".into()] };
        for (name, reply, expected) in [
            (
                "starting",
                "HTTP/1.1 503 S\r\n\r\n{\"status\":\"starting\",\"loading\":[\"street\"]}",
                Ok(Some(starting)),
            ),
            ("ready, and cut", "HTTP/1.1 200 OK\r\n\r\n{\"status\":\"rea", Ok(None)),
            ("not ready, and cut", "HTTP/1.1 503 S\r\n\r\n{\"sta", Err(())),
        ] {
            assert_eq!(readiness(reply.as_bytes()).map_err(|_| ()), expected, "{name}");
        }
    }

    #[test]
    fn an_answer_that_is_too_long_or_never_ends_is_one() {
        for (name, body_bytes) in [("too long", 3 << 20), ("never ends", 10)] {
            let server = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = server.local_addr().unwrap().port();
            let answering = std::thread::spawn(move || {
                let (mut stream, _) = server.accept().unwrap();
                assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"status\":\"degraded\",\"reasons\":[\"").unwrap();
                // Whoever asks may have heard enough before the end.
                let _ = stream.write_all(&vec![b'x'; body_bytes]);
                let _until_it_hangs_up = stream.read(&mut [0; 1]);
            });
            let (asked, mut said) = (HealthcheckArgs { timeout_seconds: 3, ..args(port) }, Vec::new());
            assert!(run(&asked, &mut said).unwrap(), "{name}: {}", String::from_utf8_lossy(&said));
            answering.join().unwrap();
        }
    }

    #[test]
    fn nobody_there_says_where_was_asked() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut said = Vec::new();
        assert!(!run(&args(free.port()), &mut said).unwrap());
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(&format!("no answer from http://{free}/healthz")), "{said}");
    }

    #[test]
    fn one_who_never_answers_is_given_up() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = ask(&args(silent.local_addr().unwrap().port())).unwrap_err();
        assert!(matches!(error, HealthcheckError::NoAnswer { timeout_seconds: 1, .. }), "{error}");
    }
}
