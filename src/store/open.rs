//! Opening: plan, find, map, load, start. What fails leaves everything as it was.
#![forbid(unsafe_code)]

use super::plan::{adopt, first_plan};
use super::{Inner, IoSide, Limits, Status, Store};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, OnDamage, Plan, Settings, Shadow};
use crate::error::{Error, Result};
use crate::format::{SUPERBLOCK_AREA_BYTES, StoreId, StoreKey};
use crate::index::Index;
use crate::region::{Identity, NowUs, Region, Stripes};
use crate::shadow::io::{
    FileIndex, IoCounters, Members, OpenedIo, Prefer, ShadowFile, ShadowFiles,
};
use crate::shadow::{
    self, Created, Flusher, Layout, Pump, Requests, Service, ShadowSet, Survey, Tickets,
};
use crate::sync::{Arc, AtomicU64, Mutex, Relaxed, core, fork, lock, memory};
use crate::unit::{Geometry, Sequence};
use crate::upkeep::{
    Common, Keyspace, LoadError, LoadReport, Pressure, ReclaimCounters, ReclaimService, Room,
    Source, Upkeep, load,
};
use std::io;
use std::path::Path;

/// Cores from which on the engine's own threads are pinned.
const CORES_TO_PIN_MIN: usize = 4;

/// Stripes that one reclaimer serves: it moves some million records a second, several times what a
/// core puts.
const STRIPES_A_RECLAIMER: u32 = 8;

/// Stores opened in this process: gives each a number.
static OPENED: AtomicU64 = AtomicU64::new(0);

impl Store {
    /// Opens a store: memory only, or with the shadow that `config` names, which is created if it
    /// is new, and loaded if it is not (cold start).
    ///
    /// Cost: `data_size` of memory is mapped and, with `prefault`, touched; a shadow is read at the
    /// device's speed.
    ///
    /// ```
    /// # use brindle::{Config, Store};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let config = Config::new().data_size(64 << 20).shadow_dir(dir.path().join("data"));
    /// let store = Store::open(config.clone())?;
    /// store.put("greeting", "hello")?;
    /// store.close()?;
    ///
    /// let store = Store::open(config)?;
    /// assert_eq!(&*store.get("greeting").expect("it survived"), b"hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`], [`Error::Locked`], [`Error::NotAShadow`], [`Error::UnsupportedFormat`],
    /// [`Error::ShadowMismatch`], [`Error::Damaged`] (with `on_damage = refuse`), [`Error::Io`].
    /// Nothing was written, and nothing is left behind.
    pub fn open(config: Config) -> Result<Self> {
        let cores = core::allowed();
        // Before any file is touched: what is wrong by itself.
        let (plan, unless_existing) = first_plan(&config, cores.len())?;
        let prefer = Prefer::Ring;
        Opening { config, plan, cores, clock: None, prefer, reclaims: true, keeps_up: true }
            .run(unless_existing)
    }

    /// Opens a store as a test wants it.
    #[cfg(feature = "testing")]
    pub(super) fn open_with(config: Config, harness: &super::testing::Harness) -> Result<Self> {
        let cores = core::allowed();
        let (plan, unless_existing) = first_plan(&config, cores.len())?;
        let clock = harness.clock.clone();
        let (prefer, reclaims) = (harness.prefer, harness.reclaims);
        Opening { config, plan, cores, clock, prefer, reclaims, keeps_up: true }
            .run(unless_existing)
    }
}

/// An open under way.
pub(crate) struct Opening {
    pub(crate) config: Config,
    /// What `config` comes to.
    pub(crate) plan: Plan,
    pub(crate) cores: Vec<usize>,
    /// A test's clock.
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) prefer: Prefer,
    /// Reclaimers get threads.
    pub(crate) reclaims: bool,
    /// So does what looks after the clock and the pins.
    pub(crate) keeps_up: bool,
}

/// The shadow of a store that is about to start.
struct ShadowSide {
    service: Service,
    io: IoSide,
    requests: Arc<Requests>,
}

/// What is mapped and ready, before anything is loaded.
struct Ready {
    stripes: Arc<Stripes>,
    keyspace: Arc<Keyspace>,
    settings: Arc<Settings>,
}

impl Opening {
    /// Opens what the configuration names; if nothing is there yet, it fails with
    /// `unless_existing`.
    fn run(self, unless_existing: Option<Error>) -> Result<Store> {
        if self.plan.shadow == Shadow::None {
            return self.without_shadow();
        }
        let (files, survey) = shadow::open(&self.plan.shadow, self.plan.direct_files)?;
        match survey {
            Survey::New => unless_existing.map_or_else(|| self.found(files), Err),
            Survey::Existing(standings) => {
                let config = adopt(self.config.clone(), &self.plan.shadow, &standings)?;
                let plan = config.validate(self.cores.len())?;
                shadow::reserve(&files, plan.geometry)?;
                let members = Arc::new(ShadowFiles::new(files));
                let set = ShadowSet::existing(members, standings);
                let (store, _) = Opening { config, plan, ..self }.with_shadow(set, None, true)?;
                Ok(store)
            }
        }
    }

    fn without_shadow(self) -> Result<Store> {
        let store_id = StoreId([0; 16]);
        let clock = self.clock(0);
        let ready = self.prepare(store_id, shadow::random(), Sequence(1), &clock)?;
        for (wblock, _) in ready.stripes.wblocks() {
            ready.stripes.release(wblock);
        }
        self.start(ready, clock, LoadReport::default(), None)
    }

    /// Creates the shadow.
    fn found(self, existing: Vec<ShadowFile>) -> Result<Store> {
        // Memory first: it is what most often is not to be had.
        let clock = self.clock(0);
        self.map()?;
        let Plan { shadow, geometry, direct_files, .. } = &self.plan;
        let (files, created) = shadow::complete(shadow, existing, *geometry, *direct_files)?;
        let members = Arc::new(ShadowFiles::new(files));
        let set = ShadowSet::found(members, *geometry, clock.precise_us())?;
        Ok(self.with_shadow(set, Some(created), true)?.0)
    }

    /// Loads the shadow, and starts its thread or leaves its work to the pump.
    pub(crate) fn with_shadow(
        mut self,
        mut set: ShadowSet,
        created: Option<Created>,
        has_thread: bool,
    ) -> Result<(Store, Option<Pump>)> {
        self.reclaims &= has_thread;
        let superblock = *set.superblock();
        let clock = self.clock(set.clock_floor());
        let first = set.first_sequence();
        let ready = self.prepare(superblock.store_id, superblock.hash_seed, first, &clock)?;
        let members = Arc::clone(set.members());
        let opened = members.io(Some(ready.stripes.region().range()), self.prefer);
        let OpenedIo { mut io, ring_refused } = opened;
        let counters = Arc::new(IoCounters::default());
        let report = self.load(&ready.keyspace, &mut *io, &counters, &set)?;
        // What a run without a clean end wrote down of its time: what expired before is dead.
        clock.not_below(report.clock_floor);
        if self.plan.on_damage == OnDamage::Refuse && report.damaged() > 0 {
            let path = members.path(FileIndex(0)).to_owned();
            return Err(Error::Damaged { path, damaged: report.damaged() });
        }
        // From here on the shadow is written to (G1 of `shadow::set`).
        if report.rejected.stale_superblocks > 0 {
            set.outgrow(report.next_sequence);
        }
        let limit = set.mark_open(clock.precise_us())?;
        ready.stripes.set_sequence_limit(limit);
        let tickets = Arc::new(Tickets::new());
        let floor_us = set.clock_floor();
        let requests =
            Arc::new(Requests::new(Arc::clone(&ready.stripes), Arc::clone(&tickets), floor_us));
        requests.strike_damaged();
        let layout = Layout {
            flush_bytes: self.plan.flush_bytes,
            first_wblock_bytes: SUPERBLOCK_AREA_BYTES,
            lazy_sync: self.plan.disable_odsync,
        };
        let stripes = Arc::clone(&ready.stripes);
        let asked = (Arc::clone(&tickets), Arc::clone(&requests));
        let flusher = Flusher::new(stripes, io, asked, Arc::clone(&counters), layout);
        let ring_refused = Mutex::new(ring_refused.map(|error| error.to_string()));
        let is_direct = (0..members.count()).all(|file| members.is_direct(FileIndex(file)));
        let io = IoSide { counters, durable: flusher.durable(), ring_refused, is_direct };
        let floor = Arc::clone(&clock);
        let work = shadow::Work {
            flusher,
            set,
            requests: Arc::clone(&requests),
            settings: Arc::clone(&ready.settings),
            core: self.engine_core(0),
            now_us: NowUs(Box::new(move || floor.precise_us())),
        };
        let (service, pump) = Service::new(Arc::clone(&ready.stripes), tickets, work);
        let pump = if has_thread {
            service.start(pump).map_err(|source| thread_error(source, &members))?;
            None
        } else {
            Some(pump)
        };
        let shadow = ShadowSide { service, io, requests };
        let store = self.start(ready, clock, report, Some(shadow))?;
        if let Some(created) = created {
            created.keep();
        }
        Ok((store, pump))
    }

    pub(super) fn clock(&self, floor_us: u64) -> Arc<dyn Clock> {
        let clock = self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock::new(floor_us)));
        clock.not_below(floor_us);
        clock
    }

    fn map(&self) -> Result<Region> {
        let Plan { geometry, huge_pages, .. } = &self.plan;
        Region::map(*geometry, *huge_pages).map_err(|source| out_of_memory(&source, *geometry))
    }

    fn prepare(
        &self,
        store_id: StoreId,
        hash_seed: u64,
        first_sequence: Sequence,
        clock: &Arc<dyn Clock>,
    ) -> Result<Ready> {
        fork::watch();
        let geometry = self.plan.geometry;
        let region = self.map()?;
        if self.plan.prefault {
            check_available(geometry)?;
            region.prefault(self.cores.len());
        }
        if self.plan.lock_memory {
            region.lock().map_err(|source| {
                let reason = format!(
                    "the system refused to lock {} bytes ({source}): raise RLIMIT_MEMLOCK \
                     (`ulimit -l`, `LimitMEMLOCK=`) above that, or set `lock_memory` to false",
                    geometry.region_bytes()
                );
                Error::config("lock_memory", reason)
            })?;
        }
        let has_shadow = self.plan.shadow != Shadow::None;
        let reclaimers = geometry.stripes.div_ceil(STRIPES_A_RECLAIMER);
        // Puts need one wblock a stripe to write, and one more to go on to. In the smallest store
        // one of its two is for moves, and puts go on behind what was moved.
        let spare = (geometry.wblocks() - geometry.stripes - 1).max(1);
        let kept_for_deletes = spare.min(1);
        // One for each reclaimer to go on to; and one that is free then. What is open when a run
        // ends is not appended to in the next, which must have somewhere to move records to.
        let kept_for_moves = (spare - kept_for_deletes).min(reclaimers + u32::from(has_shadow));
        let identity = Identity {
            store_id,
            store_key: StoreKey::of(&store_id),
            kept_for_moves,
            kept_for_deletes: kept_for_moves + kept_for_deletes,
            reclaimers,
            has_shadow,
        };
        let now = Arc::clone(clock);
        let now_us = NowUs(Box::new(move || now.precise_us()));
        let stripes = Arc::new(Stripes::new(region, identity, first_sequence, now_us));
        let index = Index::new(self.plan.expected_records, self.plan.huge_pages);
        let index = index.map_err(|_full| {
            let reason = "there is no memory for an index of this size: lower it";
            Error::config("expected_records", reason)
        })?;
        let keyspace = Arc::new(Keyspace::new(Arc::clone(&stripes), index, hash_seed));
        let settings = Arc::new(Settings::new(&self.plan));
        Ok(Ready { stripes, keyspace, settings })
    }

    fn load(
        &self,
        keyspace: &Keyspace,
        io: &mut dyn shadow::io::BlockIo,
        counters: &IoCounters,
        set: &ShadowSet,
    ) -> Result<LoadReport> {
        let members = set.members();
        let mut source = Source {
            io,
            counters,
            first_wblock_bytes: SUPERBLOCK_AREA_BYTES,
            walkers: self.cores.len(),
            is_whole: &|sequence| set.is_whole(sequence),
            census: &|file| set.census(file),
            on_progress: self.plan.on_progress.clone(),
        };
        members.go_directly(true);
        let loaded = load(keyspace, &mut source);
        members.go_directly(false);
        let mut report = loaded.map_err(|error| match error {
            LoadError::Read(error) => {
                let path = members.path(error.file).to_owned();
                Error::Io { op: "read", path, source: error.source }
            }
            LoadError::IndexFull => Error::OutOfSpace,
            LoadError::NoThread(source) => {
                let path = members.path(FileIndex(0)).to_owned();
                Error::Io { op: "start a thread for", path, source }
            }
        })?;
        report.was_clean = set.was_clean();
        report.truncated_shadows = set.truncated()?;
        report.rejected.superblock_copies = set.damaged_copies();
        report.rejected.stale_superblocks = u64::from(report.next_sequence > set.first_sequence());
        Ok(report)
    }

    /// The core for the engine's own threads: the last one, and for each further reclaimer the one
    /// before, if threads are to be pinned. With few cores they go where there is time: on two of
    /// them, a shadow thread that wakes on the core of a writer was seen to hold it up for 2 to 6
    /// ms, and 0.2 ms when left to the scheduler.
    fn engine_core(&self, number: u32) -> Option<usize> {
        let has_choice = self.cores.len() >= CORES_TO_PIN_MIN;
        let from_last = number as usize % self.cores.len().max(1);
        let core = self.cores.iter().rev().nth(from_last).copied();
        core.filter(|_| self.plan.pin_cores && has_choice)
    }

    /// What was asked for and is not so, or has its price.
    fn notices(&self, stripes: &Stripes, io: Option<&IoSide>) -> Vec<String> {
        let mut notices = Vec::new();
        let (count, cores) = (stripes.geometry().stripes, self.cores.len());
        if count as usize > cores {
            notices.push(format!("{count} stripes share {cores} cores: some stripes share one"));
        }
        let pages = stripes.region().huge_pages();
        if pages != self.plan.huge_pages {
            notices.push(format!(
                "the region has {pages:?} huge pages, not {:?}: too few are reserved in \
                 vm.nr_hugepages",
                self.plan.huge_pages
            ));
        }
        let Some(io) = io else { return notices };
        if let Some(reason) = &*lock(&io.ring_refused) {
            notices
                .push(format!("io_uring is refused ({reason}): the shadow is written by pwrite"));
        }
        if self.plan.direct_files && !io.is_direct {
            notices.push("the shadow's file system has no direct I/O: files are buffered".into());
        }
        notices
    }

    fn start(
        self,
        ready: Ready,
        clock: Arc<dyn Clock>,
        report: LoadReport,
        shadow: Option<ShadowSide>,
    ) -> Result<Store> {
        let (shadow, io, requests) = match shadow {
            Some(ShadowSide { service, io, requests }) => (Some(service), Some(io), Some(requests)),
            None => (None, None, None),
        };
        let wblock_bytes = u64::from(ready.stripes.geometry().wblock_bytes);
        let backlog_max = ready.settings.write_cache_bytes_max() / wblock_bytes;
        ready.stripes.set_backlog_max(backlog_max);
        let reclaim = ReclaimService::new(Arc::new(Common {
            keyspace: Arc::clone(&ready.keyspace),
            clock: Arc::clone(&clock),
            settings: Arc::clone(&ready.settings),
            requests,
            room: Room::default(),
            counters: ReclaimCounters::default(),
        }));
        if self.reclaims {
            reclaim.start(|number| self.engine_core(number)).map_err(|source| Error::Io {
                op: "start a thread for",
                path: Path::new("reclaim").into(),
                source,
            })?;
        }
        let pressure = Pressure::new(Arc::clone(&ready.stripes), Arc::clone(&ready.settings));
        let upkeep = if self.keeps_up {
            Upkeep::start(Arc::clone(&clock), pressure, self.engine_core(0))
        } else {
            Ok(Upkeep::idle(pressure))
        };
        let upkeep = upkeep.map_err(|source| Error::Io {
            op: "start a thread for",
            path: Path::new("upkeep").into(),
            source,
        })?;
        let notices = self.notices(&ready.stripes, io.as_ref());
        let limits = Limits {
            max_record_bytes: u64::from(self.plan.record_bytes_max),
            commit_to_device: self.plan.commit_to_device,
        };
        let inner = Inner {
            keyspace: ready.keyspace,
            clock,
            config: Mutex::new(self.config.resolved(&self.plan)),
            settings: ready.settings,
            limits,
            status: Status::open(),
            forks: fork::count(),
            // ORDERING: Relaxed. Uniqueness is all that is asked.
            number: OPENED.fetch_add(1, Relaxed),
            shadow,
            moves: Mutex::new(()),
            io,
            reclaim,
            upkeep,
            report,
            notices,
            cores: self.cores,
            #[cfg(any(feature = "metrics", feature = "top"))]
            sampler: super::sample::Sampler::default(),
            #[cfg(feature = "top")]
            publisher: super::top::Publisher::default(),
        };
        inner.tell_opened();
        Ok(Store::new(inner))
    }
}

fn thread_error(source: io::Error, members: &Arc<dyn Members>) -> Error {
    Error::Io { op: "start a thread for", path: members.path(FileIndex(0)).to_owned(), source }
}

/// Refuses to touch more memory than there is: the system would kill the process.
fn check_available(geometry: Geometry) -> Result<()> {
    let (bytes, available) = (geometry.region_bytes(), memory::available_bytes());
    if available.is_none_or(|available| bytes <= available) {
        return Ok(());
    }
    let reason = format!(
        "takes {bytes} bytes, and the machine has {} available: lower it, or set `prefault` to \
         false and let the memory come when it is needed",
        available.unwrap_or_default()
    );
    Err(Error::config("data_size", reason))
}

fn out_of_memory(source: &io::Error, geometry: Geometry) -> Error {
    let bytes = geometry.region_bytes();
    let reason = format!("the system refused to map {bytes} bytes ({source}): lower `data_size`");
    Error::config("data_size", reason)
}
