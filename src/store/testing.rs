//! Opening a store on what a test brings: members, a clock, and the pump in its own hands.
#![forbid(unsafe_code)]

use super::Store;
use super::open::Opening;
use super::plan::adopt;
use super::snapshot::{SnapshotOptions, SnapshotReport};
use crate::clock::Clock;
use crate::config::{Config, Shadow};
use crate::error::Result;
use crate::shadow::io::{Members, Prefer};
use crate::shadow::{self, Pump, ShadowSet, SnapshotWriter, Survey};
use crate::sync::{Arc, core};
use crate::upkeep::Reclaimer;
use std::path::PathBuf;
use std::time::Instant;

/// A move to another shadow that a test asked for, and drives with its pump.
#[derive(Debug)]
pub struct Move(crate::shadow::Answer);

impl Move {
    /// How it ended; `None`: it has not.
    pub fn outcome(&self) -> Option<Result<()>> {
        self.0.look().map(|attached| attached.map(|_| ()))
    }
}

/// Asks for a move of `store` to `members`, and returns at once.
///
/// # Errors
///
/// Those of [`Store::reattach_shadow`] as far as they are known before it begins.
pub fn begin_move(store: &Store, members: Arc<dyn Members>) -> Result<Move> {
    let (request, answer) = store.inner.request(members)?;
    store.inner.moving_service()?.post(request)?;
    Ok(Move(answer))
}

/// Moves `store` to `members`, and waits for it, as [`Store::reattach_shadow`] does.
///
/// # Errors
///
/// Those of [`Store::reattach_shadow`].
pub fn move_to(store: &Store, members: Arc<dyn Members>) -> Result<()> {
    store.inner.move_to(store.inner.moving_service()?, members)
}

/// Writes a snapshot of `store` to `members`, which are blank and of the right size.
///
/// # Errors
///
/// Those of [`Store::snapshot_with`]. The members stay as they are then: refused by an open.
pub fn snapshot_on(
    store: &Store,
    members: Arc<dyn Members>,
    options: &SnapshotOptions,
) -> Result<SnapshotReport> {
    let (inner, started) = (&store.inner, Instant::now());
    let geometry = inner.snapshot_geometry(options)?;
    let writer = SnapshotWriter::create_on(members, geometry, inner.clock.precise_us())?;
    inner.write_snapshot(writer, options, started)
}

/// What a test brings to an open.
#[derive(Clone, Debug)]
pub struct Harness {
    /// The machine's clock if none.
    pub clock: Option<Arc<dyn Clock>>,
    /// Which back end real files get.
    pub prefer: Prefer,
    /// False: nothing is swept, moved or freed but what the test's reclaimers do, and a put that
    /// finds no room fails at once.
    pub reclaims: bool,
}

impl Default for Harness {
    fn default() -> Self {
        Self { clock: None, prefer: Prefer::Ring, reclaims: true }
    }
}

impl Harness {
    /// Opens a store in memory or on the files that `config` names.
    ///
    /// # Errors
    ///
    /// Those of [`Store::open`].
    pub fn open(&self, config: Config) -> Result<Store> {
        Store::open_with(config, self)
    }

    /// Opens a store on `members`, which take the place of the shadow that `config` names.
    ///
    /// # Errors
    ///
    /// Those of [`Store::open`].
    pub fn open_on(&self, config: Config, members: Arc<dyn Members>) -> Result<Store> {
        let (opening, set) = self.prepare(config, members)?;
        Ok(opening.with_shadow(set, None, true)?.0)
    }

    /// Opens a store on `members` without a shadow thread: the test drives the pump.
    ///
    /// # Errors
    ///
    /// Those of [`Store::open`].
    ///
    /// # Panics
    ///
    /// Never: a store that was asked for without a thread has a pump.
    pub fn open_pumped(&self, config: Config, members: Arc<dyn Members>) -> Result<(Store, Pump)> {
        let (opening, set) = self.prepare(config, members)?;
        with_pump(opening, set)
    }

    /// As [`open_pumped`](Self::open_pumped), and without any other thread: nobody looks after
    /// the clock and the pins. For tests that open a store some thousand times a second.
    ///
    /// # Errors
    ///
    /// Those of [`Store::open`].
    pub fn open_bare(&self, config: Config, members: Arc<dyn Members>) -> Result<(Store, Pump)> {
        let (opening, set) = self.prepare(config, members)?;
        with_pump(Opening { keeps_up: false, ..opening }, set)
    }

    /// Opens a store on `members` without any thread that writes: the test drives the pump and the
    /// reclaimers.
    ///
    /// # Errors
    ///
    /// Those of [`Store::open`].
    pub fn open_driven(
        &self,
        config: Config,
        members: Arc<dyn Members>,
    ) -> Result<(Store, Pump, Vec<Reclaimer>)> {
        let (store, pump) = self.open_pumped(config, members)?;
        let reclaimers = store.inner.reclaim.reclaimers();
        Ok((store, pump, reclaimers))
    }

    fn prepare(&self, config: Config, members: Arc<dyn Members>) -> Result<(Opening, ShadowSet)> {
        let cores = core::allowed();
        let shadow = Shadow::Devices(vec![PathBuf::from("simulated")]);
        let count = usize::try_from(members.count()).unwrap_or(usize::MAX);
        let survey = shadow::survey(&*members)?;
        let config = match &survey {
            Survey::Existing(standings) => adopt(config, &shadow, standings)?,
            Survey::New => config.stripes(count),
        };
        let names = (0..count).map(|stripe| PathBuf::from(format!("simulated-{stripe}")));
        let config = config.shadow_devices(names);
        let plan = config.validate(cores.len())?;
        let clock = self.clock.clone();
        let (prefer, reclaims) = (self.prefer, self.reclaims);
        let opening = Opening { config, plan, cores, clock, prefer, reclaims, keeps_up: true };
        let set = match survey {
            Survey::Existing(standings) => ShadowSet::existing(members, standings),
            Survey::New => {
                let now_us = opening.clock(0).precise_us();
                ShadowSet::found(members, opening.plan.geometry, now_us)?
            }
        };
        Ok((opening, set))
    }
}

fn with_pump(opening: Opening, set: ShadowSet) -> Result<(Store, Pump)> {
    let (store, pump) = opening.with_shadow(set, None, false)?;
    #[expect(clippy::expect_used, reason = "asked for without a thread")]
    Ok((store, pump.expect("a pump")))
}
