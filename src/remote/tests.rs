//! The cache against a web server with scripted responses.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::base::hex;

/// A web server that sends its responses one after the other, and repeats the last one.
struct Server {
    address: Address,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answers: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/street.onnx", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let at = {
                    let mut seen: std::sync::MutexGuard<'_, Vec<String>> = seen.lock().unwrap();
                    seen.push(String::from_utf8(head).unwrap());
                    seen.len() - 1
                };
                client.write_all(&answers[at.min(answers.len() - 1)]).await.unwrap();
            }
        });
        Self { address: Address::parse(&url).unwrap().unwrap(), heads }
    }

    fn requests(&self) -> usize {
        self.heads.lock().unwrap().len()
    }
}

fn answer(status: &str, headers: &str, body: &[u8], length: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn ok(body: &[u8], etag: &str) -> Vec<u8> {
    answer("200 OK", &format!("ETag: \"{etag}\"\r\n"), body, body.len())
}

fn digest(body: &[u8]) -> String {
    hex(Sha256::new_with_prefix(body))
}

fn cache(folder: &TempDir) -> Cache {
    cache_that_waits(folder, HOLDER_LIMIT)
}

/// Returns a cache that waits this long for another process that fetches nothing.
fn cache_that_waits(folder: &TempDir, holder_limit: std::time::Duration) -> Cache {
    let zero = std::time::Duration::ZERO;
    let retry = RetryPolicy { max_attempts: 3, max_first_delay: zero, max_delay: zero };
    let spec = CacheSpec {
        folder: folder.path().join("models"),
        max_bytes: 1000,
        max_cached_bytes: 1 << 20,
        retry,
        holder_limit,
    };
    Cache::new(spec, RemoteClient::new(None).unwrap())
}

async fn file(cache: &Cache, server: &Server, sha256: Option<&str>) -> Result<Vec<u8>, FetchError> {
    let path = cache.file(ModelRequest { address: &server.address, sha256 }, &|_| ()).await?;
    Ok(std::fs::read(path).unwrap())
}

#[tokio::test]
async fn a_file_is_fetched_once_and_revalidated_by_its_etag() {
    let folder = TempDir::new().unwrap();
    let unchanged = answer("304 Not Modified", "", b"", 0);
    let server = Server::start(vec![ok(b"one", "1"), unchanged, ok(b"two", "2")]).await;
    for (name, want) in [("fetched", b"one"), ("not changed", b"one"), ("changed", b"two")] {
        assert_eq!(file(&cache(&folder), &server, None).await.unwrap(), want, "{name}");
    }
    let heads = server.heads.lock().unwrap().clone();
    let conditional: Vec<bool> = heads.iter().map(|head| head.contains("if-none-match: \"1\"")).collect();
    assert_eq!(conditional, [false, true, true]);
}

#[tokio::test]
async fn cached_content_with_the_requested_digest_needs_no_server() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(vec![ok(b"one", "1")]).await;
    let sha256 = digest(b"one").to_uppercase();
    for _ in 0..3 {
        assert_eq!(file(&cache(&folder), &server, Some(&sha256)).await.unwrap(), b"one");
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn cached_content_is_used_when_the_server_fails_and_is_fetched_again_when_it_is_damaged() {
    let folder = TempDir::new().unwrap();
    let broken = answer("503 Service Unavailable", "", b"", 0);
    let gone = answer("404 Not Found", "", b"", 0);
    let cut = answer("200 OK", "ETag: \"2\"\r\n", b"tw", 3);
    let server = Server::start(vec![ok(b"one", "1"), broken, gone, cut, ok(b"one", "1")]).await;
    let reported = Mutex::new(Vec::new());
    for name in ["fetched", "failing", "gone", "broken off"] {
        let on_progress = |progress: FetchProgress<'_>| {
            if let FetchProgress::UsingCached { why } = progress {
                reported.lock().unwrap().push(why.to_owned());
            }
        };
        let request = ModelRequest { address: &server.address, sha256: None };
        let path = cache(&folder).file(request, &on_progress).await.unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"one", "{name}");
    }
    let reported = reported.into_inner().unwrap();
    assert!(
        reported.len() == 3 && reported[0].contains("503") && reported[1].contains("404"),
        "{reported:?}"
    );
    std::fs::write(folder.path().join(format!("models/{}.onnx", digest(b"one"))), "eno").unwrap();
    assert_eq!(file(&cache(&folder), &server, None).await.unwrap(), b"one", "damaged");
    assert!(!server.heads.lock().unwrap()[4].contains("if-none-match"), "damaged content is not revalidated");
}

#[tokio::test]
async fn a_page_in_place_of_the_file_is_never_kept() {
    let html = "Content-Type: text/html\r\n";
    for (name, headers, body) in [
        ("by its type", html, &b"log in first"[..]),
        ("by its beginning", "ETag: \"1\"\r\n", b"<!DOCTYPE html><p>log in first"),
    ] {
        let folder = TempDir::new().unwrap();
        let page = answer("200 OK", headers, body, body.len());
        let server = Server::start(vec![page.clone(), page.clone(), page]).await;
        let error = file(&cache(&folder), &server, None).await.unwrap_err().to_string();
        assert!(error.contains("is a page, not the file: HTTP 200: log in first"), "{name}: {error}");
        let kept = std::fs::read_dir(folder.path().join("models")).unwrap();
        let models =
            kept.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|end| end == "onnx"));
        assert_eq!(models.count(), 0, "{name}");
    }
}

#[tokio::test]
async fn a_broken_download_is_repeated_and_leaves_no_partial_content() {
    let folder = TempDir::new().unwrap();
    let cut = answer("200 OK", "", b"on", 3);
    let away = answer("500 Internal Server Error", "", b"", 0);
    let server = Server::start(vec![cut.clone(), away, ok(b"one", "1")]).await;
    assert_eq!(file(&cache(&folder), &server, None).await.unwrap(), b"one");
    assert_eq!(server.requests(), 3);

    let server = Server::start(vec![cut]).await;
    let error = file(&cache(&folder), &server, None).await.unwrap_err().to_string();
    assert!(error.contains("was not fetched in 3 attempts") && server.requests() == 3, "{error}");
    let contents = std::fs::read_dir(folder.path().join("models")).unwrap();
    let contents = contents.filter(|entry| entry.as_ref().unwrap().path().is_file());
    assert_eq!(contents.count(), 1, "the one that is complete");
}

#[tokio::test]
async fn content_that_cannot_be_used_is_rejected_with_a_reason() {
    let one = digest(b"one");
    let long = vec![b'x'; 1001];
    let chunked = [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n".as_slice(),
        &long,
        b"\r\n0\r\n\r\n",
    ];
    let elsewhere = answer("302 Found", "Location: http://example.com/m\r\n", b"", 0);
    let table = [
        ("another digest", ok(b"two", "1"), Some(one.as_str()), format!("`sha256` asks for {one}"), 1),
        ("too large", ok(&long, "1"), None, "more than 1000 bytes".to_owned(), 1),
        ("too large, as it turns out", chunked.concat(), None, "more than 1000 bytes".to_owned(), 1),
        ("no such file", answer("404 Not Found", "", b"", 0), None, "404".to_owned(), 1),
        (
            "access denied",
            answer("403 Forbidden", "", b"", 0),
            None,
            "requires other credentials".to_owned(),
            1,
        ),
        ("redirected to http", elsewhere, None, "redirected to http://".to_owned(), 3),
    ];
    for (name, answer, sha256, words, requests) in table {
        let folder = TempDir::new().unwrap();
        let server = Server::start(vec![answer]).await;
        let error = file(&cache(&folder), &server, sha256).await.unwrap_err().to_string();
        assert!(error.contains(&words) && error.contains("/street.onnx"), "{name}: {error}");
        assert_eq!(server.requests(), requests, "{name}");
        let left: Vec<_> = std::fs::read_dir(folder.path().join("models/from")).unwrap().collect();
        let parts = left.iter().filter(|file| file.as_ref().unwrap().path().extension().unwrap() == "part");
        assert_eq!(parts.count(), 0, "{name}: {left:?}");
    }
}

#[tokio::test]
async fn one_of_many_processes_that_request_a_file_fetches_it() {
    let folder = TempDir::new().unwrap();
    let unchanged = answer("304 Not Modified", "", b"", 0);
    let server = Server::start(vec![ok(b"one", "1"), unchanged]).await;
    let waited = AtomicUsize::new(0);
    let caches: Vec<Cache> = (0..8).map(|_| cache(&folder)).collect();
    let all = caches.iter().map(|cache| {
        let on_progress = |progress: FetchProgress<'_>| {
            waited
                .fetch_add(usize::from(matches!(progress, FetchProgress::Waiting { .. })), Ordering::Relaxed);
        };
        let address = &server.address;
        async move { cache.file(ModelRequest { address, sha256: None }, &on_progress).await.unwrap() }
    });
    let paths = futures_util::future::join_all(all).await;
    assert!(paths.iter().all(|path| std::fs::read(path).unwrap() == b"one"));
    let heads = server.heads.lock().unwrap().clone();
    let whole = heads.iter().filter(|head| !head.contains("if-none-match")).count();
    assert_eq!((whole, waited.into_inner()), (1, 7));
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_reported_with_its_name() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("models"), "a file").unwrap();
    let server = Server::start(vec![ok(b"one", "1")]).await;
    let error = file(&cache(&folder), &server, None).await.unwrap_err().to_string();
    assert!(error.contains("models/from") && error.contains("--cache-dir"), "{error}");
}

/// No server answers at the address: a locked address is not requested.
#[tokio::test]
async fn a_process_that_holds_an_address_without_progress_is_named_and_not_waited_for() {
    let folder = TempDir::new().unwrap();
    let address = Address::parse("http://127.0.0.1:1/street.onnx").unwrap().unwrap();
    let from = folder.path().join("models/from");
    std::fs::create_dir_all(&from).unwrap();
    let name = hex(Sha256::new_with_prefix(address.secret()));
    let lock = from.join(format!("{name}.lock"));
    std::fs::write(&lock, "process 7 on host yard").unwrap();
    let held = std::fs::File::open(&lock).unwrap();
    held.lock().unwrap();
    let reported = Mutex::new(Vec::new());
    let on_progress = |progress: FetchProgress<'_>| reported.lock().unwrap().push(progress.to_string());
    let request = ModelRequest { address: &address, sha256: None };
    let impatient = cache_that_waits(&folder, std::time::Duration::ZERO);
    let error = impatient.file(request, &on_progress).await.unwrap_err().to_string();
    assert!(
        error.contains("is locked by process 7 on host yard, which has fetched nothing of it for 0 s"),
        "{error}"
    );
    assert_eq!(*reported.lock().unwrap(), ["is being fetched by process 7 on host yard"]);

    let sha256 = digest(b"one");
    std::fs::write(folder.path().join(format!("models/{sha256}.onnx")), "one").unwrap();
    let record = format!(r#"{{ "address": "{address}", "etag": null, "sha256": "{sha256}" }}"#);
    std::fs::write(from.join(format!("{name}.json")), record).unwrap();
    let path = impatient.file(request, &on_progress).await.unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"one", "the cached version is used");
    assert!(reported.lock().unwrap()[2].starts_with("is used from the cache: "), "{reported:?}");

    drop(held);
    let error = cache(&folder).file(ModelRequest { sha256: Some(&"0".repeat(64)), ..request }, &|_| ()).await;
    assert!(error.unwrap_err().to_string().contains("was not fetched in 3 attempts"));
    let holder = std::fs::read_to_string(&lock).unwrap();
    assert!(holder.starts_with(&format!("process {} on host ", std::process::id())), "{holder}");
}

#[tokio::test]
async fn a_text_has_the_servers_time() {
    let answers = [
        ("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n", Some(784_111_777_000)),
        ("Last-Modified: yesterday\r\n", None),
        ("", None),
    ];
    let server = Server::start(answers.map(|(headers, _)| answer("200 OK", headers, b"a", 1)).to_vec()).await;
    for (headers, modified_ms) in answers {
        let client = RemoteClient::new(None).unwrap();
        let fetched = client.text(&server.address, None, 10).await.unwrap().unwrap();
        assert_eq!((fetched.text.as_str(), fetched.modified_ms), ("a", modified_ms), "{headers}");
    }
}
