//! A child process: the test binary itself, run again for one of its tests, which then plays the
//! child's part. Without the variable that names a part, such a test does nothing.
#![expect(clippy::expect_used, reason = "a test that cannot start its child has failed")]

use std::io::{self, Write};
use std::process::Command;

const PART: &str = "BRINDLE_TEST_PART";
const ARGUMENT: &str = "BRINDLE_TEST_ARGUMENT";

/// The test binary, to run only the test `entry`, in the part `part`; under the program, with its
/// arguments, that `wrapper` names, if it names one.
pub fn command(wrapper: &[&str], entry: &str, part: &str, argument: &str) -> Command {
    let own = std::env::current_exe().expect("the path of this program");
    let mut command = match wrapper.split_first() {
        None => Command::new(&own),
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(&own);
            command
        }
    };
    command.args(["--exact", entry, "--nocapture", "--test-threads=1"]);
    command.env(PART, part).env(ARGUMENT, argument);
    command
}

/// The part that this process is to play, and its argument; `None` in a usual test run.
pub fn part() -> Option<(String, String)> {
    Some((std::env::var(PART).ok()?, std::env::var(ARGUMENT).ok()?))
}

/// Writes a line for the parent, told from those of the test harness by its first character.
pub fn say(line: &str) {
    // The harness has left its own line open.
    io::stdout().write_all(format!("\n@{line}\n").as_bytes()).expect("the parent listens");
}
