//! The keys that text can set, in one table (C2): each with the way in which its value is read.
#![forbid(unsafe_code)]

use super::Config;
use super::value::Value;

/// Names `KEYS`, and sets a key by its name through the method of that name.
macro_rules! keys {
    ($($key:ident: $read:ident,)*) => {
        /// Every key that text can set.
        pub const KEYS: &[&str] = &[$(stringify!($key)),*];

        impl Config {
            /// Sets `key`, or says why not.
            pub(super) fn set(self, key: &str, value: Value) -> Result<Self, String> {
                $(if key == stringify!($key) {
                    return Ok(self.$key(value.$read()?));
                })*
                Err(unknown(key))
            }
        }
    };
}

keys! {
    data_size: size,
    shadow_dir: path,
    shadow_devices: paths,
    stripes: whole,
    wblock_size: size,
    max_record_size: size,
    pin_cores: flag,
    huge_pages: choice,
    prefault: flag,
    lock_memory: flag,
    commit_to_device: flag,
    direct_files: flag,
    disable_odsync: flag,
    flush_max_ms: whole,
    flush_size: size,
    max_write_cache: size,
    overload_wait: duration,
    flush_deadline: duration,
    close_deadline: duration,
    defrag_lwm_pct: percent,
    defrag_queue_min: whole,
    defrag_sleep: duration,
    evict_used_pct: percent,
    evict_target_pct: percent,
    stop_writes_used_pct: percent,
    stop_writes_avail_pct: percent,
    default_ttl: duration,
    on_damage: choice,
    expected_records: whole,
    tombstone_grace: duration,
    sweep_interval: duration,
}

/// Longer than any key could be mistyped: not compared.
const TYPED_BYTES_MAX: usize = 64;

/// Why `key` cannot be set, with the nearest one that can.
fn unknown(key: &str) -> String {
    if key == "on_progress" {
        return "can be set from code only".into();
    }
    match nearest(key) {
        Some(known) => format!("is unknown: `{known}` may be meant"),
        None => "is unknown: the keys are the methods of `Config`".into(),
    }
}

/// The key that `typed` differs least from, if by no more than a third of its letters.
fn nearest(typed: &str) -> Option<&'static str> {
    if typed.len() > TYPED_BYTES_MAX {
        return None;
    }
    let typed = typed.to_lowercase().replace('-', "_");
    let near = KEYS.iter().map(|key| (edits(&typed, key), *key)).min()?;
    (near.0 <= near.1.len() / 3).then_some(near.1)
}

/// Letters to insert, drop or replace to turn `left` into `right` (Levenshtein, one row kept).
fn edits(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (done, from) in left.chars().enumerate() {
        let mut diagonal = done;
        let mut before = done + 1;
        if let Some(first) = row.first_mut() {
            *first = before;
        }
        for (cell, to) in row.iter_mut().skip(1).zip(right.chars()) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            before = replaced.min(before + 1).min(diagonal + 1);
            *cell = before;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        let cases =
            [("", "", 0), ("", "ab", 2), ("ab", "", 2), ("kitten", "sitting", 3), ("ab", "ba", 2)];
        for (left, right, count) in cases {
            assert_eq!(edits(left, right), count, "{left} {right}");
        }
    }

    #[test]
    fn a_slip_of_the_hand_finds_its_key() {
        let cases = [
            ("datasize", Some("data_size")),
            ("data-size", Some("data_size")),
            ("Shadow_Dirs", Some("shadow_dir")),
            ("stripe", Some("stripes")),
            ("defrag_lwm", Some("defrag_lwm_pct")),
            ("on_damages", Some("on_damage")),
            ("replication_factor", None),
            ("", None),
        ];
        for (typed, key) in cases {
            assert_eq!(nearest(typed), key, "{typed}");
        }
        assert_eq!(nearest(&"data_size".repeat(1 << 16)), None);
    }
}
