//! How much memory the process may still take.

use std::fs;

/// Bytes that can be had without swapping: of the machine, and of the process's control group if
/// that is less. `None`: the system does not tell.
pub fn available_bytes() -> Option<u64> {
    let machine = of_machine();
    match (machine, of_group()) {
        (Some(machine), Some(group)) => Some(machine.min(group)),
        (machine, group) => machine.or(group),
    }
}

fn of_machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// The limit of a container: its own group is the root of what it sees.
fn of_group() -> Option<u64> {
    let read = |name| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let limit: u64 = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    Some(limit.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_runs_tests_has_some_memory_and_less_than_an_exbibyte() {
        let available = available_bytes();
        assert!(available.is_none_or(|bytes| bytes > 1 << 20 && bytes < 1 << 60), "{available:?}");
    }
}
