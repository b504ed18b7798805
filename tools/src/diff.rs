//! `diff`: what two stores would return, key by key.

use crate::args::{DiffArgs, PathArgs};
use crate::error::{Failure, Outcome};
use crate::line::KeyText;
use crate::live::{Met, lend_winners, warn_of};
use crate::output::write_document;
use crate::progress::Progress;
use crate::shadow::Shadow;
use crate::text::shown_key;
use crate::winners::{Note, Winner, Winners};
use brindle::format::RecordView;
use schemars::JsonSchema;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::Path;

/// Differences that a JSON document lists; all are counted.
const LISTED_MAX: usize = 10_000;

/// `brindle-diff/1`: how two stores differ.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Diff {
    /// Keys that read the same in both.
    same: u64,
    /// Keys that only A returns.
    only_a: u64,
    /// Keys that only B returns.
    only_b: u64,
    /// Keys that both return, with the higher version in A.
    newer_a: u64,
    /// Keys that both return, with the higher version in B.
    newer_b: u64,
    /// Keys of one version in both, and another value or expiry.
    unequal: u64,
    /// At most 10,000 of them.
    differences: Vec<KeyDifference>,
    differences_left_out: u64,
}

/// A key that does not read the same in both.
#[derive(Debug, Serialize, JsonSchema)]
struct KeyDifference {
    kind: Kind,
    #[serde(flatten)]
    key: KeyText<'static>,
    /// What A has of it.
    a: Side,
    /// What B has of it.
    b: Side,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    OnlyA,
    OnlyB,
    NewerA,
    NewerB,
    Unequal,
}

/// What one store has of a key.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Side {
    /// It returns this version.
    Version(u64),
    /// Nothing of it is there.
    Absent,
    /// It is deleted, at this version.
    Deleted(u64),
    /// This version has expired.
    Expired(u64),
    /// This version is damaged.
    Lost(u64),
}

impl Side {
    fn of(winner: Option<Winner>) -> Self {
        let Some(winner) = winner else { return Self::Absent };
        let version = winner.reach.into();
        match winner {
            _ if winner.is_lost() => Self::Lost(version),
            _ if winner.is_tombstone() => Self::Deleted(version),
            _ if winner.is_expired() => Self::Expired(version),
            _ => Self::Version(version),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Version(version) => version.to_string(),
            Self::Absent => "absent".to_owned(),
            Self::Deleted(version) => format!("deleted at {version}"),
            Self::Expired(version) => format!("{version}, expired"),
            Self::Lost(version) => format!("{version}, damaged"),
        }
    }
}

/// `brindle diff`.
pub(crate) fn run(args: &DiffArgs, is_json: bool, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let [a, b] = [open(&args.a)?, open(&args.b)?];
    let mut of_a = Winners::new(&a, Note::Digest);
    let met_a = gather(&mut of_a, &a, "reading A")?;
    let mut of_b = Winners::with_secret(&b, Note::Digest, of_a.secret());
    let met_b = gather(&mut of_b, &b, "reading B")?;
    let lists = !args.count;
    let mut compare = Compare { diff: Diff::default(), lists, is_json, out };
    let shows_data = !is_json && io::stdout().is_terminal();
    lend_winners(&a, &of_a, &met_a, shows_data, |view, _| {
        compare.key_of_a(view, of_b.winner(of_b.digest(view.key())), &of_a)
    })?;
    lend_winners(&b, &of_b, &met_b, shows_data, |view, _| {
        compare.key_of_b(view, of_a.winner(of_a.digest(view.key())))
    })?;
    let Compare { diff, out, .. } = compare;
    if is_json {
        write_document(out, "brindle-diff/1", &diff)?;
    } else {
        write_summary(out, &diff).map_err(Failure::Output)?;
    }
    Ok(if diff.is_empty() { Outcome::Good } else { Outcome::Bad })
}

fn open(path: &Path) -> Result<Shadow, Failure> {
    Shadow::open_store(&PathArgs { path: path.to_owned(), members: Vec::new() })
}

fn gather(winners: &mut Winners<'_>, shadow: &Shadow, what: &'static str) -> Result<Met, Failure> {
    let progress = Progress::new(what, Some(shadow.wblock_bytes_total()));
    let met = winners.gather(shadow, b"", &progress)?;
    drop(progress);
    warn_of(shadow, &met);
    Ok(met)
}

struct Compare<'o> {
    diff: Diff,
    lists: bool,
    is_json: bool,
    out: &'o mut dyn Write,
}

impl Compare<'_> {
    /// A record that A returns, and what B has of its key.
    fn key_of_a(
        &mut self,
        view: &RecordView<'_>,
        theirs: Option<Winner>,
        of_a: &Winners<'_>,
    ) -> Result<ControlFlow<()>, Failure> {
        let Some(ours) = of_a.winner(of_a.digest(view.key())) else {
            return Ok(ControlFlow::Continue(()));
        };
        let side = Side::of(theirs);
        let both = theirs.filter(|_| matches!(side, Side::Version(_)));
        let kind = match both {
            None => Kind::OnlyA,
            Some(theirs) if ours.reach > theirs.reach => Kind::NewerA,
            Some(theirs) if ours.reach < theirs.reach => Kind::NewerB,
            Some(theirs) if ours.noted() != theirs.noted() => Kind::Unequal,
            Some(_) => {
                self.diff.same += 1;
                return Ok(ControlFlow::Continue(()));
            }
        };
        self.note(kind, view.key(), Side::Version(view.version().into()), side)
    }

    /// A record that B returns, and what A has of its key.
    fn key_of_b(
        &mut self,
        view: &RecordView<'_>,
        theirs: Option<Winner>,
    ) -> Result<ControlFlow<()>, Failure> {
        let side = Side::of(theirs);
        if matches!(side, Side::Version(_)) {
            return Ok(ControlFlow::Continue(())); // compared already
        }
        self.note(Kind::OnlyB, view.key(), side, Side::Version(view.version().into()))
    }

    fn note(
        &mut self,
        kind: Kind,
        key: &[u8],
        a: Side,
        b: Side,
    ) -> Result<ControlFlow<()>, Failure> {
        let diff = &mut self.diff;
        *match kind {
            Kind::OnlyA => &mut diff.only_a,
            Kind::OnlyB => &mut diff.only_b,
            Kind::NewerA => &mut diff.newer_a,
            Kind::NewerB => &mut diff.newer_b,
            Kind::Unequal => &mut diff.unequal,
        } += 1;
        if !self.lists {
            return Ok(ControlFlow::Continue(()));
        }
        if !self.is_json {
            let (name, key) = (kind.name(), shown_key(key));
            writeln!(self.out, "{name:<8}  {key}  A {}, B {}", a.text(), b.text())
                .map_err(Failure::Output)?;
        } else if diff.differences.len() < LISTED_MAX {
            diff.differences.push(KeyDifference { kind, key: KeyText::of(key), a, b });
        } else {
            diff.differences_left_out += 1;
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::OnlyA => "only A",
            Self::OnlyB => "only B",
            Self::NewerA => "newer A",
            Self::NewerB => "newer B",
            Self::Unequal => "unequal",
        }
    }
}

impl Diff {
    const fn is_empty(&self) -> bool {
        self.only_a + self.only_b + self.newer_a + self.newer_b + self.unequal == 0
    }
}

fn write_summary(out: &mut dyn Write, diff: &Diff) -> io::Result<()> {
    let Diff { same, only_a, only_b, newer_a, newer_b, unequal, .. } = diff;
    let verdict = if diff.is_empty() { "same" } else { "different" };
    writeln!(
        out,
        "{verdict}: {same} keys alike, {only_a} only in A, {only_b} only in B, {newer_a} newer in \
         A, {newer_b} newer in B, {unequal} of one version and unequal"
    )
}
