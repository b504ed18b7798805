//! `top` on a host in another process: figures for scripts, pictures on a real terminal, which
//! tmux plays, and every way in which the host or the terminal may end.

#![expect(clippy::unwrap_used, reason = "a failure fails the test")]

#[path = "../../tests/common_files/child.rs"]
mod child;
mod common;
#[path = "../../tests/common_files/skip.rs"]
mod skip;

use brindle::{Config, Store};
use common::{Ran, arg, brindle, tool};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// A host in its own process: this program, run again for `host_part`.
struct Host {
    child: Child,
    dir: TempDir,
}

impl Host {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = child::command(&[], "host_part", "host", arg(dir.path()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(lines.map(Result::unwrap).any(|line| line == "@published"));
        Self { child, dir }
    }

    fn dir(&self) -> &str {
        arg(self.dir.path())
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("top.json")
    }

    /// As `close` in the host.
    fn close(mut self) -> TempDir {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
        let other = tempfile::tempdir().unwrap();
        std::mem::replace(&mut self.dir, other)
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn signal(&self, signal: i32) {
        send(self.child.id(), signal);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(pid: u32, signal: i32) {
    // SAFETY: to a process that this test has started and that was not waited for.
    assert_eq!(unsafe { libc::kill(pid.cast_signed(), signal) }, 0);
}

/// Puts, gets and deletes until nobody listens any more, and closes the store.
#[test]
fn host_part() {
    let Some((_, dir)) = child::part() else { return };
    let dir = Path::new(&dir);
    let config = Config::new().data_size(64 << 20).wblock_size(256 << 10).stripes(2);
    let store = Store::open(config.shadow_dir(dir.join("data"))).unwrap();
    store.sample_latencies("a host", 1);
    store.publish_top(dir.join("top.json")).unwrap();
    child::say("published");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            is_over.store(true, Ordering::Relaxed);
        });
        for number in 0_u32.. {
            // On a busy machine one may be refused: it is no less a load.
            let _ = store.put((number % 10_000).to_le_bytes(), [7; 500]);
            store.get((number / 3 % 10_000).to_le_bytes());
            if number % 100 == 0 {
                let _ = store.delete(number.to_le_bytes());
                // Other tests want the machine, too.
                thread::sleep(Duration::from_millis(1));
            }
            if is_over.load(Ordering::Relaxed) {
                break;
            }
        }
    });
    store.close().unwrap();
}

/// A look that goes on until it is what is waited for.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < deadline, "{what}:\n{seen}"),
        }
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn scripts_get_figures_and_rates() {
    let host = Host::start();
    // On a busy machine it may be silent for a while.
    let running = |args: &[&str]| {
        eventually("a host that writes", || {
            let ran = brindle(args);
            if ran.status == 0 { Ok(ran) } else { Err(ran.text().to_owned() + &ran.err) }
        })
    };
    let report = eventually("rates", || {
        let report = running(&["top", "--json", host.dir()]).json();
        if report["rates"].is_null() { Err(report.to_string()) } else { Ok(report) }
    });
    assert_eq!((&report["schema"], &report["host"]), (&"brindle-top/1".into(), &"running".into()));
    assert_eq!(report["snapshot"]["pid"], host.child.id());
    for rate in ["get", "put", "appended_bytes"] {
        assert!(report["rates"][rate].as_f64().unwrap() > 1.0, "{}", report["rates"]);
    }
    assert!(report["latencies"]["put"]["p50_ns"].as_u64().unwrap() > 10, "{report}");
    assert!(report["age_ms"].as_u64().unwrap() < 10_000);

    let text = running(&["top", "--once", arg(&host.file())]);
    let text = text.text();
    assert!(text.starts_with(" running ") && text.lines().count() <= 23, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(!text.contains('\u{1b}') && text.contains("every call is measured"), "{text}");
    let map = running(&["top", "--once", "--view", "wblocks", host.dir()]);
    assert!(map.text().contains("live share of each wblock"), "{}", map.text());
}

#[test]
fn every_member_that_the_engine_writes_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("top.json"), dir.path().join("copy"));
    let config = Config::new().data_size(8 << 20).wblock_size(64 << 10);
    let store = Store::open(config.shadow_dir(dir.path().join("data"))).unwrap();
    store.sample_latencies("a store", 1);
    store.put("a", "1").unwrap();
    store.publish_top(&path).unwrap();
    fs::copy(&path, &copy).unwrap();
    let mut written: Value = serde_json::from_slice(&fs::read(&copy).unwrap()).unwrap();
    let mut read = brindle(&["top", "--json", arg(&copy)]).json()["snapshot"].take();
    for top in [&mut written, &mut read] {
        // One that is read and written twice.
        top["stats"]["load"]["elapsed_seconds"].take();
    }
    assert_eq!(read, written);
    assert_eq!(written["brindle_top"], brindle::TOP_VERSION);
}

#[test]
fn a_host_that_ended_or_hangs_is_told() {
    let mut host = Host::start();
    let told = |words: &[&str], status| {
        eventually("the host is told", || {
            let ran = brindle(&["top", "--once", host.dir()]);
            let text = ran.text().to_owned();
            let is_told = ran.status == status && words.iter().all(|word| text.contains(word));
            is_told.then_some(()).ok_or(text)
        });
    };
    told(&[" running "], 0);
    host.signal(libc::SIGSTOP);
    told(&[" silent ", "the host has not written for", "it is stopped, or stuck"], 1);
    host.signal(libc::SIGCONT);
    told(&[" running "], 0);
    host.kill();
    // What it left is fresh for a moment.
    let host = &host;
    eventually("the end is told", || {
        let ran = brindle(&["top", "--once", host.dir()]);
        let text = ran.text().to_owned();
        let words = [" ended ", "the host has ended without closing the store; it last wrote"];
        let is_told = ran.status == 1 && words.iter().all(|word| text.contains(word));
        is_told.then_some(()).ok_or(text)
    });
    let report = brindle(&["top", "--json", host.dir()]).with(1).json();
    assert_eq!((&report["host"], &report["rates"]), (&"ended".into(), &Value::Null));
}

#[test]
fn what_cannot_be_shown_is_refused_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let refused = |args: &[&str], words: &[&str]| {
        let Ran { err, .. } = brindle(args).with(2);
        for word in words {
            assert!(err.contains(word), "{args:?}: {err}");
        }
    };
    let sample =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/top/sample.json"))
            .unwrap();
    fs::write(at("newer"), sample.replace("\"brindle_top\": 1", "\"brindle_top\": 2")).unwrap();
    fs::write(at("half"), &sample[..sample.len() / 2]).unwrap();
    fs::write(at("letter"), "Dear reader,").unwrap();
    fs::write(at("sample"), &sample).unwrap();
    let missing = arg(dir.path()).to_owned() + "/top.json";
    for mode in ["--once", "--json"] {
        refused(
            &["top", mode, arg(dir.path())],
            &[&missing, "Store::publish_top", "start the host"],
        );
        refused(&["top", mode, arg(&at("newer"))], &["newer has version 2, of Brindle 0.1.0"]);
        refused(
            &["top", mode, arg(&at("half"))],
            &["half was not written by `Store::publish_top`"],
        );
        refused(&["top", mode, arg(&at("letter"))], &["letter was not written by"]);
        refused(&["top", mode, "/dev/null"], &["/dev/null was not written", "it is no file"]);
    }
    // No terminal, whatever the file.
    refused(&["top", arg(&at("sample"))], &["no terminal", "`--once`", "`--json`"]);
    refused(&["top", &missing], &["no terminal"]);
    let gone = brindle(&["top", "--once", arg(&at("sample"))]).with(1);
    assert!(gone.text().contains(" ended "), "{}", gone.text());
}

/// A terminal with a shell in it.
struct Terminal {
    socket: String,
}

impl Terminal {
    /// None: tmux is not here.
    fn open(dir: &Path) -> Option<Self> {
        static OPENED: AtomicU32 = AtomicU32::new(0);
        let is_there = Command::new("tmux").arg("-V").stdout(Stdio::null()).status();
        if !is_there.is_ok_and(|status| status.success()) {
            skip::skip("no tmux here: `top` is not tried on a terminal");
            return None;
        }
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        let terminal = Self { socket: format!("brindle-{}-{number}", std::process::id()) };
        let size = ["-x", "100", "-y", "30"];
        let shell = "PS1='ready$ ' ENV= exec sh";
        let start = ["new-session", "-d", "-c", arg(dir)];
        terminal.tmux(&[&start[..], &size, &[shell]].concat());
        Some(terminal)
    }

    fn tmux(&self, args: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.args(["-u", "-f", "/dev/null", "-L", &self.socket]).args(args);
        command.env_remove("TMUX").env_remove("NO_COLOR").env("LC_ALL", "C.UTF-8");
        let folder = Path::new(tool().get_program()).parent().unwrap().to_owned();
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", folder.display()));
        let ran = Ran::from(command.output().unwrap()).with(0);
        ran.text().to_owned()
    }

    /// What is on the screen.
    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The same with what colours it.
    fn screen_with_colors(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// Types a line at the prompt.
    fn run(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.tmux(&["send-keys", "Enter"]);
    }

    fn key(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    fn resize(&self, width: u16, height: u16) {
        let (width, height) = (width.to_string(), height.to_string());
        self.tmux(&["resize-window", "-x", &width, "-y", &height]);
    }

    fn waits_for(&self, word: &str) -> String {
        eventually(&format!("`{word}` on the screen"), || {
            let screen = self.screen();
            if screen.contains(word) { Ok(screen) } else { Err(screen) }
        })
    }

    /// The program has given back the screen, the cursor, and the modes of the line.
    fn is_restored(&self, dir: &Path) {
        let flags = self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        assert_eq!(flags.trim(), "0 1", "{}", self.screen());
        self.run("stty -g > after; echo modes kept");
        self.waits_for("\nmodes kept");
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
        assert_eq!(read("after"), read("before"));
        assert!(read("before").contains(':'), "{}", read("before"));
        fs::remove_file(dir.join("after")).unwrap();
        self.run("clear");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut command = Command::new("tmux");
        let _ = command.args(["-L", &self.socket, "kill-server"]).env_remove("TMUX").output();
    }
}

/// The figure behind `name` on the screen.
fn figure(screen: &str, name: &str) -> Option<u64> {
    let line = screen.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.replace(',', "").parse().ok()
}

/// Is anything in another colour than the terminal's own, which is number 9?
fn has_color(screen: &str) -> bool {
    (0..=8).any(|color| screen.contains(&format!("\u{1b}[3{color}")))
}

#[test]
fn on_a_terminal_it_follows_the_host_and_gives_the_terminal_back() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(terminal) = Terminal::open(scratch.path()) else { return };
    let host = Host::start();
    terminal.run("stty -g > before");
    let show = format!("brindle top {}; echo ended with $?", host.dir());
    terminal.run(&show);
    terminal.waits_for("every call is measured");
    assert_eq!(terminal.tmux(&["display-message", "-p", "#{alternate_on}"]).trim(), "1");

    let mut rates = Vec::new();
    eventually("rates that change", || {
        let screen = terminal.screen();
        rates.extend(figure(&screen, "put ").filter(|rate| *rate > 0));
        rates.dedup();
        if rates.len() >= 3 { Ok(()) } else { Err(screen) }
    });
    assert!(terminal.screen().contains(" running "), "{}", terminal.screen());
    let screen = terminal.screen_with_colors();
    assert!(has_color(&screen), "{screen:?}");

    terminal.key("Tab");
    terminal.waits_for("live share of each wblock");
    terminal.key("m");
    terminal.waits_for("state of each wblock");
    terminal.key("?");
    terminal.waits_for("Figures");
    terminal.key("p");
    terminal.waits_for(" paused ");
    terminal.key("p");
    terminal.key("3");
    terminal.waits_for("what holds the space");
    for (width, height) in [(20, 5), (1, 1), (200, 60), (80, 24)] {
        terminal.resize(width, height);
        terminal.key("Right");
        thread::sleep(Duration::from_millis(300));
    }
    terminal.key("1");
    terminal.waits_for("every call is measured");
    terminal.key("q");
    terminal.waits_for("ended with 0");
    terminal.is_restored(scratch.path());

    terminal.run(&format!("NO_COLOR=1 {show}"));
    terminal.waits_for("every call is measured");
    let screen = terminal.screen_with_colors();
    assert!(!has_color(&screen), "{screen:?}");
    terminal.key("C-c");
    terminal.waits_for("ended with 0");
    terminal.is_restored(scratch.path());

    host.close();
}

#[test]
fn the_terminal_is_given_back_after_a_panic_and_a_signal_too() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(terminal) = Terminal::open(scratch.path()) else { return };
    let host = Host::start();
    terminal.run("stty -g > before");
    terminal.run(&format!("brindle top --panic-at 3 {}; echo ended with $?", host.dir()));
    let screen = terminal.waits_for("ended with 101");
    assert!(screen.contains("that `--panic-at` asks for"), "{screen}");
    terminal.is_restored(scratch.path());

    for signal in [libc::SIGTERM, libc::SIGHUP] {
        let show = format!("exec brindle top {}", host.dir());
        terminal.run(&format!("sh -c 'echo $$ > pid; {show}'; echo ended with $?"));
        terminal.waits_for("every call is measured");
        let pid = fs::read_to_string(scratch.path().join("pid")).unwrap();
        send(pid.trim().parse().unwrap(), signal);
        terminal.waits_for("ended with 0");
        terminal.is_restored(scratch.path());
    }
    host.close();
}

#[test]
fn on_a_terminal_the_end_of_the_host_is_told_and_its_return_seen() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(terminal) = Terminal::open(scratch.path()) else { return };
    let mut host = Host::start();
    terminal.run(&format!("brindle top {}; echo ended with $?", host.dir()));
    terminal.waits_for(" running ");
    let kept = scratch.path().join("kept");
    fs::copy(host.file(), &kept).unwrap();
    host.kill();
    terminal.waits_for("the host has ended without closing the store");
    fs::remove_file(host.file()).unwrap();
    terminal.waits_for("the host has closed the store");
    fs::write(host.file(), "no snapshot").unwrap();
    terminal.waits_for("was not written by");
    let now = u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap();
    let mut top: Value = serde_json::from_slice(&fs::read(&kept).unwrap()).unwrap();
    top["written_at_us"] = now.into();
    fs::write(host.file(), top.to_string()).unwrap();
    terminal.waits_for(" running ");
    terminal.key("Escape");
    terminal.waits_for("ended with 0");
}

/// What waits for keys would try for ever, and take a core.
#[test]
fn it_ends_with_its_terminal() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(terminal) = Terminal::open(scratch.path()) else { return };
    let host = Host::start();
    terminal.run(&format!("sh -c 'echo $$ > pid; exec brindle top {}'", host.dir()));
    terminal.waits_for(" running ");
    let pid = fs::read_to_string(scratch.path().join("pid")).unwrap();
    let process = Path::new("/proc").join(pid.trim());
    assert!(process.exists());
    drop(terminal);
    eventually("its end", || if process.exists() { Err(pid.clone()) } else { Ok(()) });
    host.close();
}
