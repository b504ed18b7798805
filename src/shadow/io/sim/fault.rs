//! Which operation goes wrong, and how: by number or by seed.
#![forbid(unsafe_code)]

use std::ops::Range;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Refused with this errno. A write may have landed in part; after a sync, none of the writes
    /// before it become durable by a later sync: the system gave them up.
    Errno(i32),
    /// Only this many bytes are moved; a sync is not affected.
    Short(usize),
    /// Acknowledged and not done: a write that is stored nowhere, a sync that lies (a later
    /// honest one makes up for it). A read is not affected.
    Lost,
    /// A write that lands this many sectors further on, modulo the file; others are not affected.
    Misdirected(u32),
    /// Does not complete until [`SimDisk::release`](super::SimDisk::release).
    Stall,
}

/// Which operations a fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultOn {
    /// Writes.
    Write,
    /// Reads.
    Read,
    /// Syncs.
    Sync,
}

/// Numbers from a seed, the same for ever (`SplitMix64`).
///
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    #[expect(clippy::cast_possible_truncation, reason = "below a usize")]
    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(super) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

#[derive(Debug)]
struct Rule {
    on: FaultOn,
    /// Operations of this kind to let pass first.
    skip: u64,
    /// Operations to strike after that.
    times: u64,
    fault: Fault,
}

#[derive(Debug)]
struct Dice {
    random: Random,
    per_mille: u16,
    faults: Vec<(FaultOn, Fault)>,
}

/// A part of a file that is bad.
#[derive(Debug)]
struct Sore {
    on: FaultOn,
    file: usize,
    /// Unit: bytes.
    range: Range<u64>,
}

/// All faults to come.
#[derive(Debug, Default)]
pub(super) struct Plan {
    rules: Vec<Rule>,
    sores: Vec<Sore>,
    dice: Option<Dice>,
}

impl Plan {
    pub(super) fn add(&mut self, on: FaultOn, skip: u64, times: u64, fault: Fault) {
        self.rules.push(Rule { on, skip, times, fault });
    }

    pub(super) fn add_sore(&mut self, on: FaultOn, file: usize, range: Range<u64>) {
        self.sores.push(Sore { on, file, range });
    }

    /// The fault of the next operation, of kind `on` and at that place.
    pub(super) fn pick_at(
        &mut self,
        on: FaultOn,
        file: usize,
        range: &Range<u64>,
    ) -> Option<Fault> {
        let picked = self.pick(on);
        let is_sore = self.sores.iter().any(|sore| {
            let meets = sore.range.start < range.end && range.start < sore.range.end;
            meets && (sore.on, sore.file) == (on, file)
        });
        if is_sore { Some(Fault::Errno(libc::EIO)) } else { picked }
    }

    pub(super) fn set_dice(&mut self, seed: u64, per_mille: u16, faults: &[(FaultOn, Fault)]) {
        self.dice = Some(Dice { random: Random(seed), per_mille, faults: faults.to_vec() });
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The fault of the next operation, of kind `on`: the earliest rule's, else the dice's.
    pub(super) fn pick(&mut self, on: FaultOn) -> Option<Fault> {
        let mut picked = None;
        for rule in self.rules.iter_mut().filter(|rule| rule.on == on) {
            if rule.skip > 0 {
                rule.skip -= 1;
            } else if rule.times > 0 && picked.is_none() {
                rule.times -= 1;
                picked = Some(rule.fault);
            }
        }
        self.rules.retain(|rule| rule.times > 0);
        picked.or_else(|| self.dice.as_mut()?.roll(on))
    }
}

impl Dice {
    fn roll(&mut self, on: FaultOn) -> Option<Fault> {
        if self.random.below(1000) >= usize::from(self.per_mille) {
            return None;
        }
        let faults: Vec<Fault> =
            self.faults.iter().filter(|(kind, _)| *kind == on).map(|(_, fault)| *fault).collect();
        if faults.is_empty() {
            return None;
        }
        faults.get(self.random.below(faults.len())).copied()
    }
}
