//! The machine: huge pages for all, CPU time, resident memory, memory that is warm, and what it is.

use memmap2::{Advice, MmapMut};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;
use std::{env, fs, io, thread};

/// What the allocator, mimalloc, is told: huge pages, and to keep what was freed, so that a load
/// does not pay for memory that the host took back.
const ALLOCATOR: [(&str, &str); 2] =
    [("MIMALLOC_ALLOW_LARGE_OS_PAGES", "1"), ("MIMALLOC_PURGE_DELAY", "-1")];

/// Starts the program anew, once, if the allocator was not told.
///
/// # Errors
///
/// If it does not start.
pub fn prepare() -> io::Result<()> {
    if ALLOCATOR.iter().all(|(name, _)| env::var_os(name).is_some()) {
        return Ok(());
    }
    let mut command = Command::new(env::current_exe()?);
    Err(command.args(env::args_os().skip(1)).envs(ALLOCATOR).exec())
}

/// CPU time of the process.
pub fn process_cpu() -> Duration {
    cpu(ClockId::ProcessCPUTime)
}

/// CPU time of the calling thread.
pub fn thread_cpu() -> Duration {
    cpu(ClockId::ThreadCPUTime)
}

fn cpu(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Memory of the process. Unit: bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Memory {
    /// What is resident.
    pub resident: u64,
    /// What of it lies in huge pages.
    pub huge: u64,
}

/// Memory of the process now.
pub fn memory() -> Memory {
    let text = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    Memory { resident: field(&text, "Rss:"), huge: field(&text, "AnonHugePages:") }
}

/// Memory that can be had. Unit: bytes.
pub fn available() -> u64 {
    field(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemAvailable:")
}

/// The bytes that a line of `/proc`, in KiB, tells.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// Touches `bytes` of memory and gives them back to the kernel: the first touch of what the host
/// took back would cost what comes next some microseconds a page.
pub fn warm(bytes: u64) {
    let Ok(mut map) = MmapMut::map_anon(usize::try_from(bytes).unwrap_or(0).max(1)) else { return };
    let _ = map.advise(Advice::HugePage); // small pages serve as well
    map.chunks_mut(4096).for_each(|page| page[0] = 1);
}

/// Keeps the calling thread on core `number`, counted from the first that it may use.
pub fn pin(number: usize) {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if let Some(core) = cores.get(number % cores.len().max(1)) {
        core_affinity::set_for_current(*core);
    }
}

/// What the figures were taken on.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// Cores that may be used.
    pub cores: usize,
    /// Unit: bytes.
    pub memory: u64,
    /// Version of the kernel.
    pub kernel: String,
    /// Transparent huge pages: the setting of the system.
    pub huge_pages: String,
    /// Load average of the last minute, at the start: above 0.5 others were at work.
    pub load_average: f64,
}

impl Machine {
    /// This machine.
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo");
        let processor = processor.lines().find(|line| line.starts_with("model name"));
        let load = read("/proc/loadavg");
        Self {
            processor: processor.and_then(|line| line.split(": ").nth(1)).unwrap_or("").into(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory: field(&read("/proc/meminfo"), "MemTotal:"),
            kernel: read("/proc/sys/kernel/osrelease").trim().into(),
            huge_pages: read("/sys/kernel/mm/transparent_hugepage/enabled").trim().into(),
            load_average: load.split(' ').next().and_then(|one| one.parse().ok()).unwrap_or(0.0),
        }
    }
}
