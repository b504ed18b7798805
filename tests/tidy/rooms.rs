//! Rooms: who may use whom, which crate has which door, and where unsafe code may stand.

use crate::text::{File, Line, Rule, after_path, is_word_character, without_visibility, words};

pub const RULES: &[Rule] = &[layers, shortcuts, doors, tools, forbids_unsafe];

/// The rooms under `src/`, the lowest first. A room uses the floors below its own, and nothing
/// beside it. (The layer L0 is six floors, since its rooms use each other in this order.)
const FLOORS: &[&[&str]] = &[
    &["planted"],
    &["sync"],
    &["unit"],
    &["error"],
    &["clock"],
    &["trace"],
    &["config"],
    &["format"],
    &["region"],
    &["index", "shadow"],
    &["upkeep"],
    &["store"],
];

/// Stand above all floors: the face, and what tests of a host are given.
const ABOVE_ALL_FLOORS: &[&str] = &["lib", "testing"];

/// What has one door in the engine, where the door is, and what to write elsewhere.
const DOORS: &[(&str, &str, &str)] = &[
    ("atomic", "src/sync", "import it from `crate::sync`, or loom cannot see it"),
    ("loom", "src/sync", "import it from `crate::sync`, which switches between std and loom"),
    ("shuttle", "src/sync", "import it from `crate::sync`, which switches to shuttle, too"),
    ("crossbeam_epoch", "src/sync", "use `crate::sync::epoch`, which has a collector of its own"),
    ("memmap2", "src/region", "ask `crate::region` for memory: a shadow is never mapped"),
    ("io_uring", "src/shadow/io/ring.rs", "submit through the trait in `crate::shadow::io`"),
];

/// Files of the tool that use the engine; the others read shadows that the engine refuses.
const TOOL_FILES_WITH_ENGINE: &[(&str, &str)] = &[
    ("tools/src/import.rs", "puts records into a store"),
    ("tools/src/bench.rs", "measures a store"),
];

/// Where unsafe code may stand, and why. A folder ends in `/`.
const UNSAFE_PLACES: &[(&str, &str)] = &[
    ("src/sync/", "cells, and reclamation through epochs"),
    ("src/region/", "maps memory, and lends it out"),
    ("src/index/", "segments behind atomic pointers"),
    ("src/shadow/io/", "the kernel reads and writes the region"),
    ("src/clock.rs", "reads the clocks that `std` does not have"),
    ("src/shadow/flusher.rs", "lends the region to writes in flight"),
    ("src/upkeep/keyspace.rs", "makes a reference into the region"),
    ("src/upkeep/held.rs", "lends a record out together with its pin"),
    ("src/upkeep/cold_start.rs", "walks the region while it is being filled"),
];

/// The room that a file belongs to: `store` for `src/store/get.rs`, `unit` for `src/unit.rs`.
fn room(file: &File) -> Option<&str> {
    file.path.strip_prefix("src/")?.split(['/', '.']).next().filter(|_| file.is_rust())
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// A room uses only lower floors.
fn layers(file: &File) -> Vec<String> {
    let Some(own) = room(file) else { return Vec::new() };
    if ABOVE_ALL_FLOORS.contains(&own) {
        return Vec::new();
    }
    let Some(own_floor) = floor(own) else {
        let what = format!("`{own}` has no floor: give it one in `FLOORS` of tests/tidy/rooms.rs");
        return vec![file.finding(1, &what)];
    };
    let broken = |used: &str| match floor(used) {
        _ if used == own => None,
        Some(floor) if floor < own_floor => None,
        Some(_) => Some(format!(
            "`{own}` may not use `{used}`, which is no lower room: move what is shared down, or \
             let a higher room pass it in"
        )),
        None => Some(format!(
            "`crate::{used}` names no room: write `crate::room::…`, one `use` a room, never nested"
        )),
    };
    file.findings(|line| {
        let code = if line.is_test { "" } else { line.code.as_str() };
        after_path(code, "crate::").find_map(|rest| broken(first_segment(rest)?))
    })
}

/// The first name of `rest`, or the brace that stands there; a macro is no path.
fn first_segment(rest: &str) -> Option<&str> {
    let name = rest.split(|c| !is_word_character(c)).next().filter(|name| !name.is_empty());
    let Some(name) = name else { return rest.get(..1) };
    rest.strip_prefix(name).is_some_and(|rest| !rest.starts_with('!')).then_some(name)
}

#[test]
fn a_room_uses_only_lower_floors() {
    let breaks = |path, text| crate::text::bites(layers, path, text);

    assert!(breaks("src/format/mod.rs", "use crate::region::Wblock;"), "upwards");
    assert!(breaks("src/index/entry.rs", "use crate::shadow::Flush;"), "sideways");
    assert!(breaks("src/error.rs", "fn a() -> crate::clock::Clock {}"), "inline");
    assert!(breaks("src/store/mod.rs", "use crate::{unit, region};"), "nested");
    assert!(breaks("src/region/mod.rs", "use crate::Error;"), "through the face");
    assert!(breaks("src/cellar/mod.rs", ""), "no floor");

    assert!(!breaks("src/region/mod.rs", "use crate::config::HugePages;"));
    assert!(!breaks("src/clock.rs", "use crate::error::Error;"), "the order within L0");
    assert!(!breaks("src/region/a.rs", "use crate::region::b::C;"), "its own room");
    assert!(!breaks("src/region/a.rs", "//! See [`Stats`](crate::Stats)."), "a link");
    assert!(!breaks("src/format/a.rs", "#[cfg(test)]\nuse crate::store::Store;"), "a test");
    assert!(!breaks("src/unit.rs", "crate::newtype! { A }"), "a macro");
    assert!(!breaks("src/testing.rs", "use crate::store::Store;"));
    assert!(!breaks("src/lib.rs", "pub use crate::store::Store;"));
}

/// A relative path does not lead out of a room, where `layers` would not see it.
fn shortcuts(file: &File) -> Vec<String> {
    let Some(own) = room(file) else { return Vec::new() };
    let is_door = file.path == format!("src/{own}.rs") || file.path == format!("src/{own}/mod.rs");
    let what = "a relative path out of the room hides what it uses: write `crate::room::…`";
    file.findings(|line| {
        let out_of_door = is_door && without_visibility(&line.code).starts_with("use super::");
        let is_far = line.code.contains("super::super::") && !line.is_test;
        (out_of_door || is_far).then_some(what)
    })
}

#[test]
fn a_relative_path_stays_in_its_room() {
    let breaks = |path, text| crate::text::bites(shortcuts, path, text);

    assert!(breaks("src/store/get.rs", "use super::super::region::Wblock;"));
    assert!(breaks("src/region/mod.rs", "pub(crate) use super::store::Store;"));
    assert!(breaks("src/unit.rs", "use super::store::Store;"));

    assert!(!breaks("src/store/get.rs", "use super::record::Record;"));
    assert!(!breaks("src/unit.rs", "#[cfg(test)]\nmod tests {\n    use super::*;\n}"));
}

/// A crate of `DOORS` is named behind its door only.
fn doors(file: &File) -> Vec<String> {
    if !file.is_rust_in("src/") && !file.is_rust_in("tools/src/") {
        return Vec::new();
    }
    let closed = DOORS.iter().filter(|(_, door, _)| !file.path.starts_with(door));
    let broken = |(name, door, instead): &(&str, &str, &str), line: &Line| {
        // No model runs the tool, so its threads may share a plain flag.
        let is_free = *name == "atomic" && file.path.starts_with("tools/");
        (names_path(line, name) && !is_free)
            .then(|| format!("`{name}` is named only in {door}: {instead}"))
    };
    closed.flat_map(|door| file.findings(|line| broken(door, line))).collect()
}

/// Does `line` name the crate or module `name`, in a path or in an import?
fn names_path(line: &Line, name: &str) -> bool {
    let mut pieces = line.code.match_indices(name).map(|(at, _)| line.code.split_at(at));
    pieces.any(|(before, here)| {
        let is_path = here.strip_prefix(name).is_some_and(|rest| rest.starts_with("::"));
        !before.ends_with(is_word_character) && is_path
    }) || (line.is_import && words(&line.code).any(|word| word == name))
}

#[test]
fn a_crate_with_a_door_is_named_behind_it() {
    let breaks = |path, text| crate::text::bites(doors, path, text);

    assert!(breaks("src/index/entry.rs", "use std::sync::atomic::AtomicU64;"));
    assert!(breaks("src/index/entry.rs", "use std::sync::{Arc, atomic::AtomicU64};"));
    assert!(breaks("src/index/entry.rs", "a: core::sync::atomic::AtomicU64,"));
    assert!(breaks("src/clock.rs", "loom::thread::yield_now();"));
    assert!(breaks("src/index/entry.rs", "use shuttle::sync::Mutex;"));
    assert!(breaks("src/store/mod.rs", "use crossbeam_epoch as epoch;"));
    assert!(breaks("src/shadow/io/file.rs", "memmap2::Mmap::map(&file)"));
    assert!(breaks("tools/src/dump.rs", "use memmap2::Mmap;"));
    assert!(breaks("src/shadow/flusher.rs", "use io_uring::IoUring;"));

    assert!(!breaks("src/sync/mod.rs", "use std::sync::atomic::AtomicU64;"));
    assert!(!breaks("src/index/entry.rs", "#[cfg(loom)]"));
    assert!(!breaks("src/index/entry.rs", "#[cfg(any(loom, shuttle))]"));
    assert!(!breaks("src/index/entry.rs", "use crate::sync::AtomicU64; // not std::sync::atomic"));
    assert!(!breaks("src/region/mapping.rs", "use memmap2::MmapRaw;"));
    assert!(!breaks("src/shadow/io/ring.rs", "use io_uring::IoUring;"));
    assert!(!breaks("src/config/mod.rs", "io_uring: bool,"));
    assert!(!breaks("tests/alloc.rs", "use std::sync::atomic::AtomicU64;"));
    assert!(!breaks("tools/src/bench.rs", "use std::sync::atomic::AtomicBool;"));
}

/// The tool reads with `brindle::format` alone, so that it can look at what the engine refuses.
fn tools(file: &File) -> Vec<String> {
    let may_use_engine = TOOL_FILES_WITH_ENGINE.iter().any(|(path, _)| *path == file.path);
    if !file.is_rust_in("tools/src/") || may_use_engine {
        return Vec::new();
    }
    let what = "only import and bench use the engine: write `use brindle::format::…`";
    file.findings(|line| {
        let mut used = after_path(&line.code, "brindle::").filter_map(first_segment);
        (used.any(|name| name != "format") && !line.is_test).then_some(what)
    })
}

#[test]
fn the_tool_reads_with_format_alone() {
    let breaks = |path, text| crate::text::bites(tools, path, text);

    assert!(breaks("tools/src/dump.rs", "use brindle::Store;"));
    assert!(breaks("tools/src/main.rs", "use brindle::{Store, format};"));
    assert!(breaks("tools/src/check.rs", "fn a() -> brindle::Result<()> {}"));

    assert!(!breaks("tools/src/dump.rs", "use brindle::format::Record;"));
    assert!(!breaks("tools/src/import.rs", "use brindle::Store;"));
    assert!(!breaks("tools/tests/round_trip.rs", "use brindle::Store;"));
}

/// A file outside of [`UNSAFE_PLACES`] forbids unsafe code. A door above such a place cannot,
/// since `forbid` reaches all that is inside, so there this rule forbids it.
fn forbids_unsafe(file: &File) -> Vec<String> {
    let is_place = UNSAFE_PLACES.iter().any(|(place, _)| file.path.starts_with(place));
    let is_empty = file.lines.iter().all(|line| line.code.trim().is_empty());
    if !file.is_rust_in("src/") || is_place || is_empty {
        return Vec::new();
    }
    let folder = file.path.strip_suffix("mod.rs").filter(|folder| folder.ends_with('/'));
    let is_above = |folder: &str| UNSAFE_PLACES.iter().any(|(place, _)| place.starts_with(folder));
    if file.path == "src/lib.rs" || folder.is_some_and(is_above) {
        let what = "no unsafe code here: move it to a place in `UNSAFE_PLACES`";
        return file
            .findings(|line| words(&line.code).any(|word| word == "unsafe").then_some(what));
    }
    let forbids = file.lines.iter().any(|line| line.code.starts_with("#![forbid(unsafe_code)]"));
    let what = "write `#![forbid(unsafe_code)]` under the header of the file";
    if forbids { Vec::new() } else { vec![file.finding(1, what)] }
}

#[test]
fn unsafe_code_stands_in_named_places() {
    let breaks = |path, text| crate::text::bites(forbids_unsafe, path, text);

    assert!(breaks("src/store/get.rs", "fn a() {}"));
    assert!(breaks("src/store/get.rs", "// #![forbid(unsafe_code)]\nfn a() {}"), "a comment");
    assert!(breaks("src/upkeep/mod.rs", "fn a() { unsafe { b() } }"), "a door above a place");
    assert!(breaks("src/shadow/mod.rs", "unsafe impl Send for A {}"), "a door above a place");
    assert!(breaks("src/lib.rs", "unsafe fn a() {}"));

    assert!(!breaks("src/store/get.rs", "//! A.\n#![forbid(unsafe_code)]\nfn a() {}"));
    assert!(!breaks("src/upkeep/mod.rs", "mod held;"));
    assert!(!breaks("src/upkeep/held.rs", "fn a() { unsafe { b() } }"));
    assert!(!breaks("src/region/stripe.rs", "fn a() {}"));
    assert!(!breaks("src/format/mod.rs", "//! Nothing here yet."));
    assert!(!breaks("tests/alloc.rs", "unsafe impl GlobalAlloc for A {}"));
}
