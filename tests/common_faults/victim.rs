//! A running child: listened to, killed, and never waited for without end.

use super::work::Setup;
use crate::child;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// No step of a child may take longer: two waits of a minute, as `flush` and `close` grant a
/// device, and then some for a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(200);

/// A running child, killed and waited for when dropped.
pub struct Victim {
    child: Child,
    lines: Receiver<String>,
    complaints: Option<JoinHandle<String>>,
    /// All lines so far that were meant for the parent.
    pub said: Vec<String>,
}

impl Victim {
    /// The test `child_entry` of this binary, in the part `part`, under `wrapper`.
    pub fn start(wrapper: &[&str], part: &str, setup: &Setup) -> Self {
        Self::run(&mut child::command(wrapper, "child_entry", part, &setup.encode()))
    }

    pub fn run(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a child");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let mut errors = child.stderr.take().expect("its complaints");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(line) = line.strip_prefix('@') {
                    // Nobody may listen any more.
                    let _ = sender.send(line.to_owned());
                }
            }
        });
        let complaints = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = errors.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Self { child, lines, complaints: Some(complaints), said: Vec::new() }
    }

    /// Waits until the child says a line that starts with `word`; `None`: it ended before.
    pub fn hears(&mut self, word: &str) -> Option<String> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.starts_with(word) {
                        return Some(line);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("the child hangs before it was {word}: {:?}", self.said)
                }
            }
        }
    }

    /// Waits until the child says `word`, and says everything it said before if it ends instead.
    pub fn wait_for(&mut self, word: &str) {
        if self.hears(word).is_none() {
            let complaints = self.complaints();
            panic!("the child ended before it was {word}: {:?}\n{complaints}", self.said);
        }
    }

    /// Lets a child go on that waits for a line.
    pub fn go_on(&mut self) {
        let input = self.child.stdin.as_mut().expect("its input");
        // It may have ended already, which is for who listens to find out.
        let _ = input.write_all(b"go\n");
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    pub fn kill(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for the end, listening. Returns how it ended and what it complained of.
    pub fn finish(&mut self) -> (ExitStatus, String) {
        while self.hears("\0").is_some() {}
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                break status;
            }
            assert!(Instant::now() < deadline, "the child does not end: {:?}", self.said);
            thread::sleep(Duration::from_millis(1));
        };
        (status, self.complaints())
    }

    fn complaints(&mut self) -> String {
        self.complaints.take().and_then(|reader| reader.join().ok()).unwrap_or_default()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.kill();
    }
}
