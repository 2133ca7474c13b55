//! SIGTERM: not ready at once, what is in flight is delivered, exit 0.

use std::io::copy;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use test_support::colours::{LABELS, camera, film, sim, store};
use test_support::kvs_infer_command;
use test_support::moto::{Moto, records};
use test_support::program::Program;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_delivers_what_is_in_flight_and_is_not_ready_meanwhile() {
    let clips = tempfile::tempdir().unwrap();
    let sim = sim();
    store(&sim, "front-stream", &film(clips.path(), 0)).await;
    let moto = Moto::start();
    let kinesis = moto.stream("events").await;
    let gate = Gate::before(moto.url.trim_start_matches("http://").parse().unwrap());
    let config = format!("publishers:\n  kds_stream: events\ndevice: cpu\ncameras:\n{}", camera("front"));

    let program = Program::start(kvs_infer_command!(), &config, &sim.endpoint(), Some(&gate.url));
    let seen = program.events_until(&LABELS.map(|label| ("front", label)));
    assert_eq!(program.get("/readyz").0, 200);
    let asked = program.terminate();
    let mut answers = std::iter::repeat_with(|| program.get("/readyz").0);
    assert!(answers.by_ref().take(10_000).any(|status| status == 503));
    assert_eq!(program.get("/healthz").0, 200, "stopping is no fault");
    gate.open();
    let ended = program.wait(asked);

    assert!(ended.status.success(), "{:#?}", ended.log);
    assert!(ended.took < Duration::from_secs(10), "{:?}", ended.took);
    assert_eq!(records(&kinesis, "events").await.len(), seen.len());
    sim.stop().await;
}

/// Holds every connection to a server until it is opened.
pub(crate) struct Gate {
    pub(crate) url: String,
    open: Arc<(Mutex<bool>, Condvar)>,
}

impl Gate {
    pub(crate) fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let open = Arc::new((Mutex::new(false), Condvar::new()));
        let held = Arc::clone(&open);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let held = Arc::clone(&held);
                std::thread::spawn(move || pass(&client.unwrap(), server, &held));
            }
        });
        Self { url, open }
    }

    pub(crate) fn open(&self) {
        *self.open.0.lock().unwrap() = true;
        self.open.1.notify_all();
    }
}

fn pass(client: &TcpStream, server: SocketAddr, held: &(Mutex<bool>, Condvar)) {
    drop(held.1.wait_while(held.0.lock().unwrap(), |open| !*open).unwrap());
    let server = TcpStream::connect(server).unwrap();
    let (mut up_from, mut up_to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let up = std::thread::spawn(move || {
        let _gone = copy(&mut up_from, &mut up_to);
        let _gone = up_to.shutdown(std::net::Shutdown::Write);
    });
    let _gone = copy(&mut &server, &mut &*client);
    let _gone = client.shutdown(std::net::Shutdown::Both);
    up.join().unwrap();
}
