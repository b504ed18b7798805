//! What is published: one JSON document. `brindle schema top` describes its members.
//!
//! The number that it starts with goes up when a member goes or changes its meaning, and not for
//! members that are new.
#![forbid(unsafe_code)]

use super::publisher::wall_us;
use crate::config::Config;
use crate::region::{State, Wblock};
use crate::store::sample::CALLS;
use crate::store::{Health, Inner, Stats, WblockCounts};
use crate::sync::lock;
use crate::unit::{RBLOCK_BYTES, WblockId};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io, process};

/// The version of what [`Store::publish_top`](crate::Store::publish_top) writes.
pub const TOP_VERSION: u32 = 1;

/// What every such file starts with, whatever its version.
pub(super) const TOP_MAGIC: &[u8; 15] = b"{\"brindle_top\":";

/// Cells of the map at most; above, one stands for several wblocks.
const CELLS_MAX: u32 = 4_096;

/// The process, which does not change.
#[derive(Debug, Serialize)]
pub(super) struct Host {
    engine_version: &'static str,
    program: String,
    pid: u32,
    /// Tells the process from a later one of the same number. Unit: ticks since the boot.
    pid_started: Option<u64>,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    brindle_top: u32,
    #[serde(flatten)]
    host: &'a Host,
    #[serde(flatten)]
    turn: Turn,
    written_at_us: u64,
    is_closing: bool,
    shadow: Option<String>,
    limits: Limits,
    health: Health,
    stats: Stats,
    appended_bytes: u64,
    calls: Option<Sampled>,
    map: Map,
}

/// Which snapshot it is: only the thread knows.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Turn {
    /// The first is 1.
    pub(super) number: u64,
    /// Since the first. Unit: milliseconds.
    pub(super) publishing_ms: u64,
    /// The next one comes in so many.
    pub(super) cadence_ms: u64,
}

/// What of the configuration the figures are to be held against.
#[derive(Debug, Serialize)]
struct Limits {
    flush_max_ms: u64,
    max_write_cache_bytes: u64,
    commit_to_device: bool,
    defrag_lwm_pct: u8,
    evict_used_pct: u8,
    stop_writes_used_pct: u8,
    stop_writes_avail_pct: u8,
}

#[derive(Debug, Serialize)]
struct Sampled {
    one_of: u32,
    get: SampledCall,
    put: SampledCall,
    delete: SampledCall,
}

#[derive(Debug, Serialize)]
struct SampledCall {
    count: u64,
    latency_ns: Vec<(u64, u64)>,
}

#[derive(Debug, Serialize)]
struct Map {
    wblocks_a_cell: u32,
    stripes: Vec<StripeMap>,
}

#[derive(Debug, Serialize)]
struct StripeMap {
    stripe: u32,
    wblocks: WblockCounts,
    live_bytes: u64,
    dead_bytes: u64,
    states: String,
    live: String,
}

impl Host {
    pub(super) fn new() -> Self {
        let program = std::env::current_exe().ok();
        let name = program.as_ref().and_then(|path| path.file_name()).unwrap_or_default();
        Self {
            engine_version: env!("CARGO_PKG_VERSION"),
            program: name.to_string_lossy().into_owned(),
            pid: process::id(),
            pid_started: started(),
        }
    }
}

/// When this process started: the field 22 of its `stat`, counted behind the name, which may hold
/// anything.
fn started() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl<'a> Document<'a> {
    /// That of this moment.
    pub(super) fn of(inner: &Inner, host: &'a Host, appended_before: u64) -> Self {
        let config = lock(&inner.config).clone();
        Self {
            brindle_top: TOP_VERSION,
            host,
            turn: Turn::default(),
            written_at_us: wall_us(),
            is_closing: inner.check_open().is_err(),
            shadow: config
                .shadow_dir
                .as_ref()
                .or_else(|| config.shadow_devices.as_ref()?.first())
                .map(|path| path.to_string_lossy().into_owned()),
            limits: Limits::of(&config),
            health: printable(inner.health()),
            stats: inner.stats(),
            appended_bytes: appended_bytes(inner).saturating_sub(appended_before),
            calls: sampled(inner),
            map: Map::of(inner),
        }
    }

    /// Its text, as the snapshot of that turn.
    pub(super) fn write(mut self, turn: Turn) -> io::Result<Vec<u8>> {
        self.turn = turn;
        let mut text = serde_json::to_vec(&self)?;
        text.push(b'\n');
        Ok(text)
    }
}

impl Limits {
    fn of(config: &Config) -> Self {
        Self {
            flush_max_ms: config.flush_max_ms,
            max_write_cache_bytes: config.max_write_cache,
            commit_to_device: config.commit_to_device,
            defrag_lwm_pct: config.defrag_lwm_pct,
            evict_used_pct: config.evict_used_pct,
            stop_writes_used_pct: config.stop_writes_used_pct,
            stop_writes_avail_pct: config.stop_writes_avail_pct,
        }
    }
}

/// A path of any bytes must not be why the failure that it is part of is not told.
fn printable(health: Health) -> Health {
    match health {
        Health::ShadowFailed { path, reason } => {
            Health::ShadowFailed { path: PathBuf::from(path.to_string_lossy().as_ref()), reason }
        }
        Health::Ok | Health::DataLoss { .. } | Health::ReclaimFailed { .. } => health,
    }
}

/// None while nothing is measured.
fn sampled(inner: &Inner) -> Option<Sampled> {
    let one_of = inner.sampler.one_of();
    let calls: &[_; CALLS] = inner.sampler.calls();
    let [get, put, delete] = calls
        .each_ref()
        .map(|calls| SampledCall { count: calls.count(), latency_ns: calls.buckets() });
    (one_of > 0).then_some(Sampled { one_of, get, put, delete })
}

/// Bytes that were reserved, those of headers, padding and moves included, from some point in the
/// past on. Only grows, but for a wblock that is opened meanwhile.
pub(super) fn appended_bytes(inner: &Inner) -> u64 {
    let stripes = inner.keyspace.stripes();
    let open = (0..stripes.lanes()).filter_map(|lane| stripes.open_rblocks(lane));
    let (lanes, rblocks) = open
        .fold((0, 0), |(lanes, rblocks), (_, position)| (lanes + 1, rblocks + u64::from(position)));
    let full = stripes.next_sequence().0.saturating_sub(lanes);
    let wblock_bytes = u64::from(stripes.geometry().wblock_bytes);
    full.saturating_mul(wblock_bytes).saturating_add(rblocks * u64::from(RBLOCK_BYTES))
}

impl Map {
    fn of(inner: &Inner) -> Self {
        let stripes = inner.keyspace.stripes();
        let geometry = stripes.geometry();
        let group = geometry.wblocks().div_ceil(CELLS_MAX).max(1);
        let wblocks: Vec<(WblockId, &Wblock)> = stripes.wblocks().collect();
        let room = geometry.wblock_rblocks();
        let homes = wblocks.chunks(geometry.wblocks_per_stripe.max(1) as usize);
        let maps = (0..).zip(homes).map(|(stripe, home)| {
            let mut map = StripeMap::empty(stripe);
            for cell in home.chunks(group as usize) {
                let mut live = 0;
                let mut counts = [0_u32; STATES.len()];
                for (id, wblock) in cell {
                    let rblocks = stripes.live_rblocks(*id);
                    live += rblocks;
                    let state = wblock.state();
                    map.wblocks.count(wblock);
                    if !matches!(
                        state,
                        State::Free | State::Quarantined | State::Struck | State::Retired
                    ) {
                        map.dead_bytes +=
                            u64::from(wblock.dead_rblocks()) * u64::from(RBLOCK_BYTES);
                    }
                    if let Some(count) = counts.get_mut(place_of(state)) {
                        *count += 1;
                    }
                }
                map.live_bytes += live * u64::from(RBLOCK_BYTES);
                let state = glyph(&counts);
                map.states.push(state);
                map.live.push(tenth(live, cell.len() as u64 * u64::from(room), state));
            }
            map
        });
        Self { wblocks_a_cell: group, stripes: maps.collect() }
    }
}

impl StripeMap {
    fn empty(stripe: u32) -> Self {
        Self {
            stripe,
            wblocks: WblockCounts::default(),
            live_bytes: 0,
            dead_bytes: 0,
            states: String::new(),
            live: String::new(),
        }
    }
}

/// A letter for each state; of as many wblocks the former is shown.
const STATES: [char; 8] = ['o', 's', 'd', 'e', 'u', 'q', '.', '!'];

fn place_of(state: State) -> usize {
    match state {
        State::Open => 0,
        State::Sealed => 1,
        State::Defrag => 2,
        State::Emptying => 3,
        State::Used => 4,
        State::Quarantined | State::Struck => 5,
        State::Free => 6,
        State::Damaged | State::Retired => 7,
    }
}

/// The state that most of the wblocks of a cell are in; damage or a bad place, if there is any.
fn glyph(counts: &[u32; STATES.len()]) -> char {
    let [.., damaged] = counts;
    if *damaged > 0 {
        return '!';
    }
    let present = counts.iter().zip(STATES).filter(|(count, _)| **count > 0);
    let most = present.rev().max_by_key(|(count, _)| **count);
    most.map_or('.', |(_, state)| state)
}

/// The tenth of `room` that is live, as a digit, or the state where nothing can be.
fn tenth(live: u64, room: u64, state: char) -> char {
    if live == 0 && matches!(state, '.' | 'q' | '!') {
        return state;
    }
    let tenth = (live * 10 / room.max(1)).min(9);
    u32::try_from(tenth).ok().and_then(|tenth| char::from_digit(tenth, 10)).unwrap_or('9')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_shows_most_of_it_and_any_damage() {
        assert_eq!(glyph(&[0, 0, 0, 0, 3, 1, 2, 0]), 'u');
        assert_eq!(glyph(&[1, 0, 0, 0, 1, 0, 1, 0]), 'o', "the former of as many");
        assert_eq!(glyph(&[0, 0, 0, 0, 9, 0, 0, 1]), '!');
        assert_eq!(glyph(&[0; 8]), '.');
    }

    #[test]
    fn tenths_are_those_of_the_room() {
        assert_eq!(
            [0, 9, 10, 55, 99, 100].map(|live| tenth(live, 100, 'u')).as_slice(),
            ['0', '0', '1', '5', '9', '9']
        );
        assert_eq!((tenth(0, 100, '.'), tenth(0, 100, 'q'), tenth(50, 100, '!')), ('.', 'q', '5'));
    }
}
