//! Eviction, modelled: records in wblocks, and a cleaner that takes one wblock at a time.
//!
//! All wblocks hold equally many records. A put goes into the *fresh* open wblock, a moved record
//! into the *old* one. When all wblocks are taken the cleaner empties one or two: each record is
//! evicted or moved. What a record has is in its index word: `referenced`, set by a get or by the
//! ghost, and `count`, which only the cleaner writes, when it moves the record.
//!
//! Room is counted in whole wblocks, as in the store, so that what is dead or not yet filled takes
//! room from what is live: `capacity` is never exceeded, and mostly not reached.

use crate::caches::Cache;
use std::collections::VecDeque;
use std::mem;

/// A policy and its parameters.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// What the cleaner does.
    pub rule: Rule,
    /// Share of the fresh, in percent: a duel keeps the old within the rest.
    pub fresh_pct: usize,
    /// Highest `count` of a record.
    pub count_max: u8,
    /// `count` of a record when it becomes old.
    pub count_first: u8,
    /// A duel looks at an old wblock with each so many fresh ones.
    pub fresh_per_old: u64,
    /// Entries of the ghost, in percent of the capacity.
    pub ghost_pct: usize,
}

/// Which wblock is cleaned, and who stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The one that was sealed first; who was referenced, or counts above 0.
    Clock,
    /// A fresh one if they have more than their share, else an old one; the same stay.
    Queues,
    /// A fresh one; who was referenced there gets a place among the old, if there is one. To make
    /// places, one old wblock; who was not referenced and counts 0 goes.
    Duel,
}

#[derive(Clone, Copy, Debug, Default)]
struct Word {
    is_live: bool,
    referenced: bool,
    count: u8,
}

/// A store that evicts.
#[derive(Debug)]
pub struct Model {
    policy: Policy,
    wblocks: usize,
    wblock_records: usize,
    words: Vec<Word>,
    fresh: VecDeque<Vec<u32>>,
    fresh_open: Vec<u32>,
    old: VecDeque<Vec<u32>>,
    old_open: Vec<u32>,
    old_live: usize,
    cleanings: u64,
    ghost: Ghost,
    puts: u64,
    moves: u64,
    evictions: u64,
}

impl Model {
    /// With at least one record a wblock, and no more than `capacity`.
    pub fn new(policy: Policy, capacity: u32, wblocks: usize) -> Self {
        Self {
            policy,
            wblocks,
            wblock_records: (capacity as usize / wblocks).max(1),
            words: Vec::new(),
            fresh: VecDeque::new(),
            fresh_open: Vec::new(),
            old: VecDeque::new(),
            old_open: Vec::new(),
            old_live: 0,
            cleanings: 0,
            ghost: Ghost::new(capacity as usize * policy.ghost_pct / 100),
            puts: 0,
            moves: 0,
            evictions: 0,
        }
    }

    /// Records that were copied for each one that was evicted.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub fn moves_per_eviction(&self) -> f64 {
        self.moves as f64 / self.evictions.max(1) as f64
    }

    fn put(&mut self, key: u32) {
        let referenced = self.ghost.take(key);
        *self.word(key) = Word { is_live: true, referenced, count: 0 };
        self.puts += 1;
        self.fresh_open.push(key);
        if self.fresh_open.len() == self.wblock_records {
            let full = mem::take(&mut self.fresh_open);
            if self.policy.rule == Rule::Clock {
                self.old_live += full.len();
                self.old.push_back(full);
            } else {
                self.fresh.push_back(full);
            }
        }
        while self.taken() > self.wblocks {
            self.clean();
        }
    }

    fn taken(&self) -> usize {
        let open = [&self.fresh_open, &self.old_open].into_iter().filter(|open| !open.is_empty());
        self.fresh.len() + self.old.len() + open.count()
    }

    fn clean(&mut self) {
        self.cleanings += 1;
        let fresh_min = (self.wblocks * self.policy.fresh_pct / 100).max(1);
        let is_fresh = match self.policy.rule {
            Rule::Clock => false,
            Rule::Queues => self.fresh.len() >= fresh_min,
            Rule::Duel => true,
        };
        let fresh = if is_fresh { self.fresh.pop_front() } else { None };
        let Some(fresh) = fresh else { return self.clean_old() };
        let (asking, leaving): (Vec<_>, Vec<_>) =
            fresh.into_iter().partition(|&key| self.word(key).referenced);
        for key in leaving {
            self.evict(key);
        }
        let mut places = asking.len();
        if self.policy.rule == Rule::Duel {
            let old_max = (self.wblocks - fresh_min) * self.wblock_records;
            let is_turn = self.cleanings.is_multiple_of(self.policy.fresh_per_old);
            if is_turn && self.old_live + asking.len() > old_max {
                self.clean_old();
            }
            places = old_max.saturating_sub(self.old_live);
        }
        for (place, key) in asking.into_iter().enumerate() {
            if place < places {
                self.keep(key, self.policy.count_first);
            } else {
                self.evict(key);
            }
        }
    }

    fn clean_old(&mut self) {
        let old = self.old.pop_front().unwrap_or_default();
        self.old_live -= old.len();
        for key in old {
            let word = *self.word(key);
            if word.referenced {
                self.keep(key, (word.count + 1).min(self.policy.count_max));
            } else if word.count > 0 {
                self.keep(key, word.count - 1);
            } else {
                self.evict(key);
            }
        }
    }

    fn keep(&mut self, key: u32, count: u8) {
        *self.word(key) = Word { is_live: true, referenced: false, count };
        self.moves += 1;
        self.old_live += 1;
        self.old_open.push(key);
        if self.old_open.len() == self.wblock_records {
            self.old.push_back(mem::take(&mut self.old_open));
        }
    }

    fn evict(&mut self, key: u32) {
        *self.word(key) = Word::default();
        self.evictions += 1;
        self.ghost.put(key);
    }

    fn word(&mut self, key: u32) -> &mut Word {
        let at = key as usize;
        if at >= self.words.len() {
            self.words.resize(2 * at + 1, Word::default());
        }
        &mut self.words[at]
    }
}

impl Cache for Model {
    fn access(&mut self, key: u32) -> bool {
        let word = self.word(key);
        if word.is_live {
            word.referenced = true;
            return true;
        }
        self.put(key);
        false
    }

    fn records(&self) -> u64 {
        self.puts - self.evictions
    }
}

/// Fingerprints of keys that were evicted: lines of eight, in each the latest first.
#[derive(Debug)]
struct Ghost {
    lines: Vec<[u16; 8]>,
}

impl Ghost {
    fn new(entries: usize) -> Self {
        Self { lines: vec![[0; 8]; entries.div_ceil(8)] }
    }

    fn put(&mut self, key: u32) {
        let (line, fingerprint) = self.find(key);
        if let Some(line) = self.lines.get_mut(line) {
            line.rotate_right(1);
            line[0] = fingerprint;
        }
    }

    /// True: `key` was there, and is not any more.
    fn take(&mut self, key: u32) -> bool {
        let (line, fingerprint) = self.find(key);
        let Some(line) = self.lines.get_mut(line) else { return false };
        let Some(place) = line.iter().position(|&found| found == fingerprint) else { return false };
        line[place..].rotate_left(1);
        line[7] = 0;
        true
    }

    /// The line, and the fingerprint, which is not 0.
    #[expect(clippy::cast_possible_truncation, reason = "some bits of a hash")]
    fn find(&self, key: u32) -> (usize, u16) {
        let hash = u64::from(key + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let hash = (hash ^ (hash >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let line = ((hash >> 32) as usize * self.lines.len()) >> 32;
        (line, ((hash >> 8) as u16).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::matching;

    const DUEL: Policy = Policy {
        rule: Rule::Duel,
        fresh_pct: 5,
        count_max: 0,
        count_first: 0,
        fresh_per_old: 2,
        ghost_pct: 100,
    };

    /// Hits of `policy` in percent, on the one workload of that name, small.
    fn hit_pct(policy: Policy, wblocks: usize, workload: &str) -> f64 {
        let all = matching(&[workload.into()]);
        let [workload] = all[..] else { panic!("{} workloads of that name", all.len()) };
        let capacity = workload.capacity(20_000);
        let mut model = Model::new(policy, capacity, wblocks);
        let accesses = workload.accesses(20_000, 100_000, 1);
        let (hit_pct, records_max) = crate::report::measure(&mut model, &accesses);
        assert!(records_max <= u64::from(capacity), "{records_max} records, over {capacity}");
        hit_pct
    }

    #[test]
    fn no_policy_holds_more_than_its_capacity() {
        for rule in [Rule::Clock, Rule::Queues, Rule::Duel] {
            for wblocks in [2, 3, 20, 100] {
                let policy = Policy { rule, ..DUEL };
                assert!(hit_pct(policy, wblocks, "zipf 0.8, 10%") > 40.0, "{rule:?}, {wblocks}");
            }
        }
    }

    #[test]
    fn a_duel_keeps_its_part_of_a_loop_that_does_not_fit() {
        assert!(hit_pct(DUEL, 100, "loop of 1.25x") > 70.0);
        assert!(hit_pct(DUEL, 100, "loop of 2x") > 40.0);
        assert!(hit_pct(Policy { rule: Rule::Clock, ..DUEL }, 100, "loop of 2x") < 1.0);
    }

    #[test]
    fn a_ghost_knows_a_key_once() {
        let mut ghost = Ghost::new(8);
        ghost.put(7);
        assert!(!ghost.take(8));
        assert!(ghost.take(7));
        assert!(!ghost.take(7));
    }
}
