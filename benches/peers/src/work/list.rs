//! The workloads, by name.

use super::{Form, Pattern};

/// Keys of one pinned read: as many as a request of a host may ask for.
const PINNED: usize = 256;

/// One workload.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// What it is called.
    pub name: &'static str,
    /// What it does.
    pub kind: Kind,
    /// How it draws records.
    pub pattern: Pattern,
}

/// What a workload does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// One operation, again and again, on records that are there.
    Same(Form),
    /// Operations on records that are there, in percent; the rest are gets.
    Mix {
        /// Puts of records that are there.
        update: u64,
        /// Puts of new records.
        insert: u64,
        /// Gets, each followed by a put of the same key.
        modify: u64,
    },
    /// In percent, the rest gets; the oldest are deleted first: the mixes of `conc-map-bench`.
    Churn {
        /// Puts of new records.
        insert: u64,
        /// Deletes.
        delete: u64,
        /// Puts of records that are there.
        update: u64,
    },
    /// Updates, after as many as fill Brindle's memory: its reclamation goes on meanwhile.
    Sustained,
    /// All records put, into an empty engine.
    Load,
    /// As [`Churn`](Self::Churn), on an empty engine that grows.
    Grow,
}

impl Work {
    /// True: each run wants an engine that is empty.
    pub fn is_from_empty(&self) -> bool {
        matches!(self.kind, Kind::Load | Kind::Grow)
    }

    /// True: done twice with the same plan, it would not be the same.
    pub fn changes_records(&self) -> bool {
        matches!(self.kind, Kind::Mix { insert: 1.., .. } | Kind::Churn { .. })
    }

    /// New records of `operations` operations.
    pub fn inserts(&self, operations: u64) -> u64 {
        match self.kind {
            Kind::Mix { insert, .. } => operations * insert / 100,
            // What is deleted makes room.
            Kind::Churn { .. } => operations / 100,
            Kind::Same(_) | Kind::Sustained | Kind::Load | Kind::Grow => 0,
        }
    }
}

const fn same(name: &'static str, form: Form, pattern: Pattern) -> Work {
    Work { name, kind: Kind::Same(form), pattern }
}

const fn mix(name: &'static str, parts: [u64; 3], pattern: Pattern) -> Work {
    let [update, insert, modify] = parts;
    Work { name, kind: Kind::Mix { update, insert, modify }, pattern }
}

use Pattern::{Latest, Uniform, Zipf};

/// All workloads, those that change the most records last.
pub const WORKS: [Work; 23] = [
    same("get-uniform", Form::Get, Uniform),
    same("get-zipf", Form::Get, Zipf),
    same("pinned-uniform", Form::GetPinned(PINNED), Uniform),
    same("pinned-zipf", Form::GetPinned(PINNED), Zipf),
    same("get_many-uniform", Form::GetMany(32), Uniform),
    same("get_many-zipf", Form::GetMany(32), Zipf),
    same("ycsb-c", Form::Get, Zipf),
    mix("mixed95-uniform", [5, 0, 0], Uniform),
    mix("ycsb-b", [5, 0, 0], Zipf),
    mix("half-uniform", [50, 0, 0], Uniform),
    mix("ycsb-a", [50, 0, 0], Zipf),
    mix("ycsb-f", [0, 0, 50], Zipf),
    same("update-uniform", Form::Put, Uniform),
    same("update-zipf", Form::Put, Zipf),
    same("put_many-uniform", Form::PutMany(16), Uniform),
    same("put_many-zipf", Form::PutMany(16), Zipf),
    mix("ycsb-d", [0, 5, 0], Latest),
    Work {
        name: "read-heavy",
        kind: Kind::Churn { insert: 1, delete: 1, update: 0 },
        pattern: Uniform,
    },
    Work {
        name: "exchange",
        kind: Kind::Churn { insert: 40, delete: 40, update: 10 },
        pattern: Uniform,
    },
    Work { name: "sustained-uniform", kind: Kind::Sustained, pattern: Uniform },
    Work { name: "sustained-zipf", kind: Kind::Sustained, pattern: Zipf },
    Work { name: "load", kind: Kind::Load, pattern: Uniform },
    Work { name: "rapid-grow", kind: Kind::Grow, pattern: Uniform },
];

/// The workloads whose names start with one of `starts`; all of them if there is none.
pub fn matching(starts: &[String]) -> Vec<Work> {
    let wanted = |work: &Work| {
        starts.is_empty() || starts.iter().any(|start| work.name.starts_with(start.as_str()))
    };
    WORKS.into_iter().filter(wanted).collect()
}
