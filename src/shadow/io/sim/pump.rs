//! The back end of a simulated disk.
//!
//! A write's bytes are taken when it is submitted and compared when it completes: memory that
//! changed in between broke its promise to the kernel, and the test ends there.

use super::disk::SimDisk;
use super::fault::Random;
use super::state::{InFlight, State};
use crate::shadow::io::{Backend, BlockIo, Buffer, Completion, Op};
use std::io;

/// Operations in flight on a simulated disk.
#[derive(Debug)]
pub(super) struct SimIo {
    disk: SimDisk,
    in_flight_max: usize,
    in_flight: Vec<Outstanding>,
}

#[derive(Debug)]
struct Outstanding {
    token: u64,
    begun: InFlight,
    memory: Memory,
    is_over: bool,
}

#[derive(Debug)]
enum Memory {
    None,
    Read(Buffer),
    Write(Buffer, Vec<u8>),
}

impl SimIo {
    pub(super) fn new(disk: &SimDisk) -> Self {
        let in_flight_max = disk.state().config.in_flight_max;
        Self { disk: disk.clone(), in_flight_max, in_flight: Vec::with_capacity(in_flight_max) }
    }

    /// Moves what can complete, and is chosen to, from `in_flight` to `done`.
    fn harvest(&mut self, state: &mut State, is_one_needed: bool, done: &mut Vec<Completion>) {
        let mut ready: Vec<usize> = (0..self.in_flight.len())
            .filter(|at| self.in_flight.get(*at).is_some_and(|one| state.can_end(&one.begun)))
            .collect();
        if let Some(order) = &mut state.order {
            choose(&mut ready, is_one_needed, order);
        }
        for at in ready {
            let Some(one) = self.in_flight.get_mut(at) else { continue };
            let result = one.end(state);
            one.is_over = true;
            done.push(Completion { token: one.token, result });
        }
        self.in_flight.retain(|one| !one.is_over);
    }
}

/// Leaves some of `ready`, in any order; at least one, if it is needed and there.
fn choose(ready: &mut Vec<usize>, is_one_needed: bool, random: &mut Random) {
    for at in (1..ready.len()).rev() {
        ready.swap(at, random.below(at + 1));
    }
    let least = usize::from(is_one_needed && !ready.is_empty());
    ready.truncate(least + random.below(ready.len() + 1 - least));
}

impl Outstanding {
    fn end(&mut self, state: &mut State) -> io::Result<u32> {
        let into: &mut [u8] = match &self.memory {
            Memory::Read(into) => {
                // SAFETY: (1) the buffer came with a read, which is over when `complete` returns.
                // (2) The only slice made of it.
                unsafe { into.to_read() }
            }
            Memory::Write(from, taken) => {
                // SAFETY: (1) the buffer came with a write, over when `complete` returns.
                let bytes = unsafe { from.to_write() };
                assert!(bytes == taken.as_slice(), "memory changed while it was being written");
                &mut []
            }
            Memory::None => &mut [],
        };
        let moved = state.end(&self.begun, into)?;
        Ok(u32::try_from(moved).unwrap_or(u32::MAX))
    }
}

impl BlockIo for SimIo {
    fn backend(&self) -> Backend {
        Backend::Simulated
    }

    fn in_flight_max(&self) -> usize {
        self.in_flight_max
    }

    fn outstanding(&self) -> usize {
        self.in_flight.len()
    }

    fn submit(&mut self, token: u64, op: Op) -> io::Result<()> {
        assert!(self.in_flight.len() < self.in_flight_max, "more in flight than in_flight_max");
        let mut state = self.disk.state();
        let (begun, memory) = match op {
            Op::Sync { file } => (state.begin_sync(file.index()), Memory::None),
            Op::Read { file, offset, into } => {
                (state.begin_read(file.index(), offset, into.bytes()), Memory::Read(into))
            }
            Op::Write { file, offset, from } => {
                // SAFETY: (1) `from` came with a write, which is over when `complete` says so.
                let bytes = unsafe { from.to_write() };
                let begun = state.begin_write(file.index(), offset, bytes);
                (begun, Memory::Write(from, bytes.to_vec()))
            }
        };
        self.in_flight.push(Outstanding { token, begun, memory, is_over: false });
        Ok(())
    }

    fn complete(&mut self, wait: bool, done: &mut Vec<Completion>) -> io::Result<()> {
        let disk = self.disk.clone();
        let mut state = disk.state();
        loop {
            let before = done.len();
            self.harvest(&mut state, wait, done);
            if !wait || done.len() > before || self.in_flight.is_empty() {
                return Ok(());
            }
            state = disk.wait(state);
        }
    }
}

/// What is in flight ends, stalled or not: nobody is left to release it.
impl Drop for SimIo {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        for one in &mut self.in_flight {
            // Nobody is left to be told, either, and the memory is not looked at any more.
            let _ = state.end(&one.begun, &mut []);
        }
    }
}
