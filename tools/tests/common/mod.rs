//! What the tests of the tool share: running it, and files to run it on.
#![expect(dead_code, reason = "each test file uses a part")]
#![expect(clippy::expect_used, reason = "helpers of tests")]

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// How a run of the tool ended.
pub struct Ran {
    pub status: i32,
    pub out: Vec<u8>,
    pub err: String,
}

impl Ran {
    /// Standard output as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.out).expect("output is text")
    }

    /// Standard output as one document.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Standard output as a document a line.
    pub fn lines(&self) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect()
    }

    /// The same, if the status is `status`.
    pub fn with(self, status: i32) -> Self {
        assert_eq!(self.status, status, "out: {:?}\nerr: {}", self.out.escape_ascii(), self.err);
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let err = String::from_utf8(output.stderr).expect("messages are text");
        Self { status: output.status.code().expect("no signal"), out: output.stdout, err }
    }
}

/// The tool, not yet run.
pub fn tool() -> Command {
    Command::new(env!("CARGO_BIN_EXE_brindle"))
}

/// Runs the tool.
pub fn brindle(args: &[&str]) -> Ran {
    tool().args(args).stdin(Stdio::null()).output().expect("the tool runs").into()
}

/// Runs the tool with `input`.
pub fn brindle_with(args: &[&str], input: &[u8]) -> Ran {
    let mut child = tool()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool runs");
    child.stdin.take().expect("piped").write_all(input).expect("the tool reads");
    child.wait_with_output().expect("the tool ends").into()
}

/// A path as an argument.
pub fn arg(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

/// Lines of JSON from the tool's `export`, by key.
pub fn exported(path: &Path) -> BTreeMap<String, Value> {
    let ran = brindle(&["export", arg(path)]).with(0);
    let entry = |line: Value| {
        let key = line.get("key").or(line.get("key_hex")).and_then(Value::as_str);
        (key.expect("a key").to_owned(), line)
    };
    let lines = ran.lines();
    let count = lines.len();
    let map: BTreeMap<_, _> = lines.into_iter().map(entry).collect();
    assert_eq!(map.len(), count, "no key comes twice");
    map
}

/// The bytes of every file below `dir`.
pub fn bytes_below(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.map(|path| (path.clone(), fs::read(&path).expect("a file"))).collect()
}

/// The golden shadow of format version 1.
pub fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/format-1.shadow")
}
