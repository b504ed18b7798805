//! The handle of a simulated disk: what tests turn, and the members that the store sees.
//!
//! Every begin and end of an operation is an event, and each point between two events is one at
//! which the power may be cut, so that one recorded run gives every crash there is:
//!
//! ```
//! # use brindle::testing::{FileIndex, Members, SimConfig, SimDisk};
//! let disk = SimDisk::new(SimConfig::default());
//! disk.write_at(FileIndex(0), 0, &[7; 4096])?;
//! disk.sync(FileIndex(0))?;
//! for point in 0..=disk.crash_points() {
//!     for seed in 0..16 {
//!         let crashed = disk.crash_at(point, seed);
//!         // Open a store on `crashed`, and see that what was promised holds.
//! #       assert_eq!(crashed.count(), 1);
//!     }
//! }
//! # Ok::<(), std::io::Error>(())
//! ```
#![forbid(unsafe_code)]

use super::fault::{Fault, FaultOn};
use super::image::Image;
use super::log::{Event, Replay};
use super::pump::SimIo;
use super::state::{InFlight, State};
use crate::shadow::io::{FileIndex, Members, OpenedIo, Prefer, members, sector};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, lock};
use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

/// The shape of a simulated disk.
#[derive(Clone, Copy, Debug)]
pub struct SimConfig {
    /// How many files.
    pub files: u32,
    /// Size of each, all zeros. Unit: bytes.
    pub file_bytes: usize,
    /// What is written whole or not at all, come what may. Unit: bytes.
    pub sector_bytes: usize,
    /// Whether the back end refuses what is not whole sectors, as `O_DIRECT` does.
    pub is_direct: bool,
    /// Most operations outstanding on one back end.
    pub in_flight_max: usize,
    /// Operations complete in the order chosen by this seed; without one, in their own order.
    pub order_seed: Option<u64>,
}

/// One file of 1 MiB in sectors of 512 bytes, direct, 4 in flight, in order.
impl Default for SimConfig {
    fn default() -> Self {
        Self {
            files: 1,
            file_bytes: 1 << 20,
            sector_bytes: 512,
            is_direct: true,
            in_flight_max: 4,
            order_seed: None,
        }
    }
}

/// A walk over the crash points of a recorded run: see [`SimDisk::crashes`].
#[derive(Debug)]
pub struct Crashes {
    config: SimConfig,
    events: Vec<Event>,
    point: usize,
    replay: Replay,
    /// States that were handed out.
    seen: HashSet<u64>,
}

impl Crashes {
    /// The crash point that the walk has reached.
    pub fn point(&self) -> usize {
        self.point
    }

    /// Goes on to the next crash point; false at the last.
    pub fn advance(&mut self) -> bool {
        let Some(event) = self.events.get(self.point) else { return false };
        self.replay.apply(self.point, event);
        self.point += 1;
        true
    }

    /// The disk after a power cut at this point, of which `seed` chooses what survives as for
    /// [`SimDisk::crash`]; `None` if this walk has handed out the same disk already.
    pub fn next_state(&mut self, seed: u64) -> Option<SimDisk> {
        let (images, digest) = self.replay.crash(seed, self.config.sector_bytes);
        self.seen.insert(digest).then(|| SimDisk::of(images, self.config))
    }

    /// A power cut at this point is to be looked at anew: what is promised has changed.
    pub fn forget_seen(&mut self) {
        self.seen.clear();
    }
}

/// A simulated disk with the members of one store's shadow; clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Signalled by `release`.
    released: Condvar,
    /// Made-up paths.
    paths: Vec<PathBuf>,
}

impl SimDisk {
    /// A disk of zeros.
    pub fn new(config: SimConfig) -> Self {
        let images = (0..config.files).map(|_| Image::zeros(config.file_bytes)).collect();
        Self::of(images, config)
    }

    /// A disk with files of these contents, all durable; `config.files` and `config.file_bytes`
    /// do not matter.
    #[expect(clippy::needless_pass_by_value, reason = "the bytes become the disk's")]
    pub fn from_images(images: Vec<Vec<u8>>, config: SimConfig) -> Self {
        Self::of(images.iter().map(|image| Image::from(image.as_slice())).collect(), config)
    }

    fn of(images: Vec<Image>, config: SimConfig) -> Self {
        let paths = (0..images.len()).map(|file| format!("sim/{file}").into()).collect();
        let state = Mutex::new(State::new(images, config));
        Self { shared: Arc::new(Shared { state, released: Condvar::new(), paths }) }
    }

    /// What a read of all of `file` sees: the contents as they are while nothing crashes.
    pub fn image(&self, file: FileIndex) -> Vec<u8> {
        self.state().image(file.index()).to_vec()
    }

    /// Points at which [`crash_at`](Self::crash_at) can cut the power, 0 aside: events so far.
    pub fn crash_points(&self) -> usize {
        self.state().events()
    }

    /// The disk after a power cut now: all that is durable, and of all other sectors written, in
    /// flight or refused those that `seed` chooses.
    ///
    /// `seed % 8` is the manner: none, all, coins, the first ones, the last ones, all but one,
    /// one, whole writes. This disk goes on; the new one has no faults planned.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        self.crash_at(usize::MAX, seed)
    }

    /// The disk after a power cut at `point`, when that many events had happened.
    #[must_use]
    pub fn crash_at(&self, point: usize, seed: u64) -> Self {
        let state = self.state();
        Self::of(state.crash(point, seed), state.config)
    }

    /// All that a power cut may leave of the run so far, each state once, from the first crash
    /// point on: many times as fast as [`crash_at`](Self::crash_at).
    pub fn crashes(&self) -> Crashes {
        let state = self.state();
        let (base, events) = state.past();
        Crashes {
            config: state.config,
            events: events.to_vec(),
            point: 0,
            replay: Replay::new(base, &[]),
            seen: HashSet::new(),
        }
    }

    /// Forgets how the disk came to be as it is, and so its crash points, to save memory.
    ///
    /// # Panics
    ///
    /// If operations are in flight.
    pub fn forget_past(&self) {
        self.state().condense();
    }

    /// Plans `fault` for `times` operations (`u64::MAX`: for good) after the next `skip`.
    ///
    /// Where several are planned for one operation, the first planned strikes, and the others
    /// wait for the next.
    pub fn inject(&self, on: FaultOn, skip: u64, times: u64, fault: Fault) {
        self.state().plan.add(on, skip, times, fault);
    }

    /// The bytes `range` of `file` are bad: what touches them is refused with `EIO`, until the
    /// faults are cleared. A write may have landed in part.
    pub fn spoil(&self, on: FaultOn, file: FileIndex, range: Range<u64>) {
        self.state().plan.add_sore(on, file.index(), range);
    }

    /// Strikes `per_mille` of all operations with those of `faults` that are for their kind.
    pub fn inject_by_seed(&self, seed: u64, per_mille: u16, faults: &[(FaultOn, Fault)]) {
        self.state().plan.set_dice(seed, per_mille, faults);
    }

    /// Forgets all faults planned; operations in flight keep theirs.
    pub fn clear_faults(&self) {
        self.state().plan.clear();
    }

    /// Lets the operations complete that are stalled now.
    pub fn release(&self) {
        self.state().release();
        self.shared.released.notify_all();
    }

    /// Bit rot: inverts a bit of `file`, wherever that byte is kept. `bit` counts from 0, the
    /// lowest.
    pub fn flip(&self, file: FileIndex, byte: usize, bit: u32) {
        self.state().rot(file.index(), byte, 1u8.wrapping_shl(bit));
    }

    /// Shortens or lengthens `file`, durably, behind the back of whoever has it open.
    pub fn resize(&self, file: FileIndex, bytes: usize) {
        self.state().resize(file.index(), bytes);
    }

    /// The disk itself, for its back end.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// Waits for a release, or something like it.
    pub(super) fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.shared.released.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Ends an operation of its own, waiting while it is stalled.
    fn finish(
        &self,
        mut state: MutexGuard<'_, State>,
        begun: &InFlight,
        into: &mut [u8],
    ) -> io::Result<usize> {
        while !state.can_end(begun) {
            state = self.wait(state);
        }
        state.end(begun, into)
    }
}

impl Members for SimDisk {
    #[expect(clippy::cast_possible_truncation, reason = "at most STRIPES_MAX")]
    fn count(&self) -> u32 {
        self.state().count() as u32
    }

    fn bytes(&self, file: FileIndex) -> io::Result<u64> {
        Ok(self.state().image(file.index()).len() as u64)
    }

    fn read_at(&self, file: FileIndex, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        sector::read_whole(offset, into, |room, at| {
            let mut state = self.state();
            let begun = state.begin_read(file.index(), at, room.len());
            self.finish(state, &begun, room)
        })
    }

    fn write_at(&self, file: FileIndex, offset: u64, from: &[u8]) -> io::Result<()> {
        sector::write_whole(offset, from, |part, at| {
            let mut state = self.state();
            let begun = state.begin_write(file.index(), at, part);
            self.finish(state, &begun, &mut [])
        })
    }

    fn sync(&self, file: FileIndex) -> io::Result<()> {
        let mut state = self.state();
        let begun = state.begin_sync(file.index());
        self.finish(state, &begun, &mut []).map(|_| ())
    }

    fn path(&self, file: FileIndex) -> &Path {
        members::member::<PathBuf>(&self.shared.paths, file)
    }

    fn is_direct(&self, _file: FileIndex) -> bool {
        self.state().config.is_direct
    }

    fn io(&self, _region: Option<(NonNull<u8>, usize)>, _prefer: Prefer) -> OpenedIo {
        OpenedIo { io: Box::new(SimIo::new(self)), ring_refused: None }
    }
}
