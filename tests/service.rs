//! The example host under a real load: served, watched, ended in order, and started again.

#![expect(clippy::unwrap_used, reason = "a failure fails the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;

const CLIENTS: u64 = 4;
const KEYS_EACH: u64 = 300;

/// The example. `cargo test` has built it; `cargo test --test service` alone has not.
fn executable() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--example", "service"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    assert!(cargo.status().unwrap().success(), "the example builds");
    let tests = std::env::current_exe().unwrap();
    tests.ancestors().nth(2).unwrap().join("examples/service")
}

/// A running service.
struct Service {
    child: Child,
    output: BufReader<ChildStdout>,
    address: String,
}

impl Service {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(executable())
            .arg(dir)
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, output, address }
    }

    /// Status and body.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        ask(&self.address, method, path, body)
    }

    fn text(&self, path: &str) -> String {
        let (status, body) = self.ask("GET", path, b"");
        assert_eq!(status, 200, "{path}");
        String::from_utf8(body).unwrap()
    }

    /// SIGTERM, and the end that it leads to.
    fn end(mut self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: a signal to a child that was not waited for.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
        assert!(rest.contains("closed"), "the store was closed in order: {rest:?}");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(address: &str, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let status = answer.get(9..12).and_then(|status| std::str::from_utf8(status).ok()).unwrap();
    let status = status.parse().unwrap();
    (status, answer.split_off(end + 4))
}

fn value(client: u64, key: u64) -> Vec<u8> {
    format!("{client} {key} ").repeat(usize::try_from(key).unwrap() % 97 + 1).into_bytes()
}

/// The figure of a line of the exposition format.
fn figure(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_service_serves_a_load_tells_how_it_is_and_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let service = Service::start(&data);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let address = &service.address;
            scope.spawn(move || {
                for key in 0..KEYS_EACH {
                    let path = format!("/records/{client}-{key}");
                    assert_eq!(ask(address, "PUT", &path, &value(client, key)).0, 200);
                    assert_eq!(ask(address, "GET", &path, b""), (200, value(client, key)));
                    if key % 10 == 9 {
                        assert_eq!(ask(address, "DELETE", &path, b"").0, 204);
                        assert_eq!(ask(address, "GET", &path, b"").0, 404);
                    }
                }
            });
        }
    });
    let left = CLIENTS * KEYS_EACH * 9 / 10;

    assert_eq!(service.text("/health"), r#"{"health":"ok"}"#);
    let stats: serde_json::Value = serde_json::from_str(&service.text("/stats")).unwrap();
    assert_eq!(stats["records"], left);
    assert_eq!(stats["load"]["records"], 0);
    let metrics = service.text("/metrics");
    assert_eq!(figure(&metrics, "brindle_records").to_string(), left.to_string());
    assert!((figure(&metrics, "brindle_health")).abs() < 0.5);
    assert!(figure(&metrics, "brindle_gets_total") > 0.0, "gets were measured");
    assert!(figure(&metrics, "brindle_put_seconds_count") > 0.0, "puts were measured");
    assert!(metrics.contains("# HELP brindle_unflushed_bytes "), "figures are explained");

    let long = vec![b'v'; 9 << 20];
    assert_eq!(service.ask("PUT", "/records/long", &long).0, 413);
    service.end();

    let service = Service::start(&data);
    for client in 0..CLIENTS {
        for key in 0..KEYS_EACH {
            let expected =
                if key % 10 == 9 { (404, Vec::new()) } else { (200, value(client, key)) };
            assert_eq!(service.ask("GET", &format!("/records/{client}-{key}"), b""), expected);
        }
    }
    service.end();
}
