//! A picture of wblocks: cells with a level or a mark, for a terminal and as SVG.

use crate::args::Paint;
use crate::shadow::Shadow;
use crate::survey::{Fact, State, Survey};
use crate::text::{Instant, Size};
use brindle::format::RBLOCK_BYTES;

/// Cells of a picture at most; above, one stands for several wblocks.
pub(crate) const CELLS_MAX: u64 = 20_000;
/// Levels of a cell: tenths.
pub(crate) const LEVELS: u8 = 10;

/// What a cell shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Of `0..LEVELS`.
    Level(u8),
    Free,
    StruckOut,
    /// In use, where no level is shown.
    Used,
    /// Never durable, and so no damage.
    Torn,
    Bad,
}

impl Mark {
    /// Without colour.
    pub(crate) fn glyph(self) -> char {
        match self {
            Self::Level(level) => char::from_digit(level.into(), 10).unwrap_or('9'),
            Self::Free => '.',
            Self::StruckOut => '-',
            Self::Used => '#',
            Self::Torn => 't',
            Self::Bad => '!',
        }
    }
}

/// One cell.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) mark: Mark,
    /// The first of its wblocks, and how many there are.
    pub(crate) first: u32,
    pub(crate) wblocks: u32,
    /// In words.
    pub(crate) title: String,
}

/// The cells of one member.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) stripe: u32,
    pub(crate) path: String,
    pub(crate) cells: Vec<Cell>,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) paint: Paint,
    /// Wblocks that a cell stands for, at most.
    pub(crate) group: u32,
    pub(crate) panels: Vec<Panel>,
}

impl Picture {
    /// Paints `survey`, which is deep if `paint` needs it.
    pub(crate) fn new(shadow: &Shadow, survey: &Survey, paint: Paint) -> Self {
        let total: u64 = survey.facts.iter().map(|facts| facts.len() as u64).sum();
        let group = u32::try_from(total.div_ceil(CELLS_MAX)).unwrap_or(u32::MAX).max(1);
        let opened = || survey.facts.iter().flatten().filter(|fact| fact.opened_at > 0);
        let oldest = opened().map(|fact| fact.opened_at).min().unwrap_or(survey.now_us);
        let painter = Painter { paint, oldest_us: oldest, now_us: survey.now_us };
        let panels = shadow.members.iter().zip(&survey.facts).map(|(member, facts)| {
            let rblocks = member.superblock.geometry.wblock_rblocks();
            let chunks = (0..).step_by(group as usize).zip(facts.chunks(group as usize));
            let cells = chunks.map(|(place, facts)| {
                let wblock = member.superblock.stripe.wrapping_mul(member.places().end) + place;
                painter.cell(wblock, facts, rblocks)
            });
            let path = member.path.display().to_string();
            Panel { stripe: member.superblock.stripe, path, cells: cells.collect() }
        });
        Self { paint, group, panels: panels.collect() }
    }

    pub(crate) fn title(&self) -> &'static str {
        match self.paint {
            Paint::Live => "live share of each wblock",
            Paint::State => "state of each wblock",
            Paint::Age => "age of each wblock",
            Paint::Damage => "damage in each wblock",
        }
    }

    /// What the marks mean, those that can occur.
    pub(crate) fn legend(&self) -> Vec<(Mark, &'static str)> {
        let mut legend = match self.paint {
            Paint::Live => vec![
                (Mark::Level(0), "under 10% live"),
                (Mark::Level(LEVELS / 2), "half"),
                (Mark::Level(LEVELS - 1), "90% and more"),
            ],
            Paint::State => vec![(Mark::Used, "in use")],
            Paint::Age => {
                vec![(Mark::Level(0), "youngest tenth"), (Mark::Level(LEVELS - 1), "oldest tenth")]
            }
            Paint::Damage => vec![(Mark::Used, "whole"), (Mark::Torn, "torn, no damage")],
        };
        legend.push((Mark::Free, "free"));
        legend.push((Mark::StruckOut, "struck out"));
        legend.push((Mark::Bad, "damaged or unusable"));
        legend
    }
}

struct Painter {
    paint: Paint,
    oldest_us: u64,
    now_us: u64,
}

impl Painter {
    /// The cell of some wblocks, the first of which is `first`.
    fn cell(&self, first: u32, facts: &[Fact], rblocks: u32) -> Cell {
        let wblocks = u32::try_from(facts.len()).unwrap_or(u32::MAX);
        let (mark, title) = (self.mark(facts, rblocks), self.title(first, facts, rblocks));
        Cell { mark, first, wblocks, title }
    }

    fn mark(&self, facts: &[Fact], rblocks: u32) -> Mark {
        let any = |is: fn(&Fact) -> bool| facts.iter().any(is);
        if any(Fact::is_bad) {
            return Mark::Bad;
        }
        if !any(|fact| fact.state == State::InUse) {
            let is_struck = any(|fact| fact.state == State::StruckOut);
            return if is_struck { Mark::StruckOut } else { Mark::Free };
        }
        match self.paint {
            Paint::Live => Mark::Level(tenth(sum(facts, |fact| fact.live), room(facts, rblocks))),
            Paint::Age => {
                let opened = facts.iter().map(|fact| fact.opened_at).max().unwrap_or(self.now_us);
                let age = self.now_us.saturating_sub(opened);
                Mark::Level(tenth(age, self.now_us.saturating_sub(self.oldest_us)))
            }
            Paint::Damage if any(|fact| fact.torn > 0) => Mark::Torn,
            Paint::State | Paint::Damage => Mark::Used,
        }
    }

    fn title(&self, first: u32, facts: &[Fact], rblocks: u32) -> String {
        let [fact] = facts else {
            let last = first.saturating_add(u32::try_from(facts.len()).unwrap_or(0)) - 1;
            let used = facts.iter().filter(|fact| fact.state == State::InUse).count();
            let bad = facts.iter().filter(|fact| fact.is_bad()).count();
            return format!("wblocks {first}..={last}: {used} in use, {bad} damaged");
        };
        let live = (fact.state == State::InUse && self.paint == Paint::Live).then(|| {
            let percent = u64::from(fact.live) * 100 / u64::from(rblocks).max(1);
            let bytes = Size(u64::from(fact.live) * u64::from(RBLOCK_BYTES));
            format!("{percent}% live ({bytes})")
        });
        let opened = (fact.opened_at > 0).then(|| format!("opened {}", Instant(fact.opened_at)));
        let damaged = (fact.damaged > 0).then(|| format!("{} damaged places", fact.damaged));
        let state = format!("wblock {first}: {}", fact.state.name());
        let parts = [Some(state), live, opened, damaged];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

fn sum(facts: &[Fact], part: impl Fn(&Fact) -> u32) -> u64 {
    facts.iter().map(|fact| u64::from(part(fact))).sum()
}

/// Rblocks of wblocks that are in use.
fn room(facts: &[Fact], rblocks: u32) -> u64 {
    let used = facts.iter().filter(|fact| fact.state == State::InUse).count() as u64;
    used * u64::from(rblocks)
}

/// The tenth of `whole` that `part` falls into.
fn tenth(part: u64, whole: u64) -> u8 {
    let scaled = u128::from(part) * u128::from(LEVELS) / u128::from(whole.max(1));
    u8::try_from(scaled).unwrap_or(LEVELS).min(LEVELS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenths_end_at_nine() {
        assert_eq!(
            [0, 9, 10, 55, 99, 100, 200].map(|part| tenth(part, 100)),
            [0, 0, 1, 5, 9, 9, 9]
        );
        assert_eq!((tenth(0, 0), tenth(u64::MAX, u64::MAX)), (0, 9));
    }
}
