//! The rules, from the defaults to the edges: what is accepted, and what a refusal names.
#![forbid(unsafe_code)]

use super::{Config, Evict, HugePages, OnDamage, Plan, Settings, Shadow};
use crate::error::Error;
use proptest::prelude::*;
use std::time::Duration;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// Small enough to reason about: 64 wblocks of 64 KiB.
fn small() -> Config {
    Config::new().wblock_size(64 * KIB).data_size(4 * MIB)
}

fn plan(config: &Config) -> Plan {
    config.validate(4).expect("a good configuration")
}

/// The key of the refusal, and key and reason together.
fn refusal(config: &Config) -> (String, String) {
    match config.validate(4) {
        Err(Error::Config { key, reason }) => (key.clone(), format!("{key}: {reason}")),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn defaults_are_those_of_the_contract() {
    let plan = plan(&Config::new());
    assert_eq!(plan.geometry.region_bytes(), 256 * MIB);
    assert_eq!(u64::from(plan.geometry.wblock_bytes), 8 * MIB);
    assert_eq!(plan.geometry.stripes, 4);
    assert_eq!(plan.shadow, Shadow::None);
    assert_eq!(u64::from(plan.record_bytes_max), MIB);
    assert_eq!(u64::from(plan.flush_bytes), MIB);
    assert_eq!(plan.flush_max, Some(Duration::from_secs(1)));
    assert_eq!(plan.huge_pages, HugePages::Transparent);
    assert!(plan.pin_cores && plan.prefault && !plan.lock_memory);
    assert_eq!(plan.default_ttl, None);
    assert_eq!(plan.expected_records, 0);
    assert!(plan.on_progress.is_none());
    let reclaim = plan.reclaim;
    assert_eq!(reclaim.write_cache_bytes_max, 64 * MIB);
    assert_eq!(reclaim.overload_wait, Duration::from_secs(1));
    assert_eq!((reclaim.defrag_lwm_pct, reclaim.defrag_queue_min), (50, 0));
    assert_eq!(reclaim.defrag_sleep, Duration::from_millis(1));
    assert_eq!(reclaim.evict, None);
    assert_eq!((reclaim.stop_writes_used_pct, reclaim.stop_writes_avail_pct), (90, 5));
    assert_eq!(reclaim.tombstone_grace, Duration::from_secs(600));
    assert_eq!(reclaim.sweep_interval, Duration::from_secs(1));
}

#[test]
fn every_contradiction_is_refused_by_key() {
    let long = Duration::from_secs(u64::MAX);
    let devices = |names: &[&str]| small().shadow_devices(names.iter().copied());
    let cases: Vec<(Config, &str, &[&str])> = vec![
        (small().data_size(0), "data_size", &["`stripes`", "at least 128KiB"]),
        (small().data_size(64 * KIB), "data_size", &["1 `stripes`", "at least 128KiB"]),
        (small().stripes(64), "data_size", &["64 `stripes`", "at least 8MiB"]),
        (small().shadow_dir("d").stripes(32), "data_size", &["32 `stripes`", "at least 6MiB"]),
        (small().data_size(TIB + 1), "data_size", &["at most 1TiB", "`wblock_size`"]),
        (small().data_size(u64::MAX), "data_size", &["at most 1TiB"]),
        (Config::new().data_size(16 * TIB + 1), "data_size", &["at most 16TiB"]),
        (Config::new().data_size(u64::MAX).stripes(1024), "data_size", &["at most 16TiB"]),
        (small().stripes(0), "stripes", &["is 0", "1024"]),
        (small().stripes(1025), "stripes", &["is 1025", "1024"]),
        (small().stripes(usize::MAX), "stripes", &["1024"]),
        (small().wblock_size(0), "wblock_size", &["is 0B", "64KiB", "8MiB"]),
        (small().wblock_size(32 * KIB), "wblock_size", &["64KiB"]),
        (small().wblock_size(16 * MIB), "wblock_size", &["8MiB"]),
        (small().wblock_size(96 * KIB), "wblock_size", &["power of two"]),
        (small().wblock_size(1 << 63), "wblock_size", &["8MiB"]),
        (small().max_record_size(63), "max_record_size", &["64 to 65408"]),
        (small().max_record_size(65_409), "max_record_size", &["65408", "`wblock_size`"]),
        (small().max_record_size(u64::MAX), "max_record_size", &["65408"]),
        (small().flush_size(0), "flush_size", &["4KiB"]),
        (small().flush_size(2 * KIB), "flush_size", &["4KiB"]),
        (small().flush_size(12 * KIB), "flush_size", &["power of two"]),
        (small().flush_size(128 * KIB), "flush_size", &["`wblock_size`", "64KiB"]),
        (small().flush_max_ms(86_400_001), "flush_max_ms", &["86400000"]),
        (devices(&["a"]).shadow_dir("d"), "shadow_dir", &["`shadow_devices`"]),
        (devices(&["a", "b"]).stripes(3), "shadow_devices", &["2 devices", "`stripes` is 3"]),
        (devices(&["a", "b", "a"]), "shadow_devices", &["a twice"]),
        (devices(&["/dev/a", "/dev//a"]), "shadow_devices", &["twice"]),
        (devices(&["a", ""]), "shadow_devices", &["empty"]),
        (devices(&[]), "shadow_devices", &["0 devices"]),
        (small().shadow_dir(""), "shadow_dir", &["empty"]),
        (small().shadow_dir("a\0b"), "shadow_dir", &["NUL"]),
        (small().commit_to_device(true), "commit_to_device", &["`shadow_dir`", "`shadow_devices`"]),
        (small().disable_odsync(true), "disable_odsync", &["`shadow_dir`"]),
        (small().direct_files(true), "direct_files", &["`shadow_dir`"]),
        (
            small().shadow_dir("d").commit_to_device(true).disable_odsync(true),
            "commit_to_device",
            &["`disable_odsync`"],
        ),
        (small().max_write_cache(65_535), "max_write_cache", &["`wblock_size`", "64KiB"]),
        (small().defrag_lwm_pct(0), "defrag_lwm_pct", &["1 to 99"]),
        (small().defrag_lwm_pct(100), "defrag_lwm_pct", &["1 to 99"]),
        (small().evict_used_pct(101), "evict_used_pct", &["0 to 100"]),
        (small().evict_target_pct(10), "evict_target_pct", &["`evict_used_pct`"]),
        (
            small().evict_used_pct(50).evict_target_pct(50),
            "evict_target_pct",
            &["is 50", "`evict_used_pct`"],
        ),
        (small().stop_writes_used_pct(101), "stop_writes_used_pct", &["0 to 100"]),
        (small().stop_writes_avail_pct(255), "stop_writes_avail_pct", &["is 255"]),
        (small().default_ttl(long), "default_ttl", &["100 years"]),
        (small().overload_wait(Duration::MAX), "overload_wait", &["100 years"]),
        (small().defrag_sleep(long), "defrag_sleep", &["100 years"]),
        (small().tombstone_grace(long), "tombstone_grace", &["100 years"]),
        (small().sweep_interval(long), "sweep_interval", &["100 years"]),
        (small().sweep_interval(Duration::ZERO), "sweep_interval", &["1ms"]),
        (small().expected_records(u64::MAX), "expected_records", &["at most"]),
    ];
    for (config, key, words) in &cases {
        let (found, message) = refusal(config);
        assert_eq!(found, *key, "{message}");
        for word in *words {
            assert!(message.contains(word), "`{word}` is missing in: {message}");
        }
    }
}

#[test]
fn the_smallest_size_that_a_refusal_names_works() {
    for (config, bytes) in [
        (small(), 128 * KIB),
        (small().stripes(64), 8 * MIB),
        (small().shadow_dir("d").stripes(32), 6 * MIB),
        (small(), TIB),
        (Config::new(), 16 * TIB),
    ] {
        let plan = plan(&config.data_size(bytes));
        assert_eq!(plan.geometry.region_bytes(), bytes);
    }
}

#[test]
fn data_size_is_rounded_up_to_whole_wblocks_of_each_stripe() {
    // (data_size, stripes, wblocks of each stripe)
    for (bytes, stripes, wblocks) in
        [(128 * KIB, 1, 2), (128 * KIB + 1, 1, 3), (4 * MIB, 3, 22), (4 * MIB + 1, 64, 2)]
    {
        let geometry = plan(&small().data_size(bytes).stripes(stripes)).geometry;
        assert_eq!(geometry.wblocks_per_stripe, wblocks, "{bytes} over {stripes}");
        assert!(geometry.region_bytes() >= bytes);
    }
}

#[test]
fn unset_stripes_follow_devices_then_cores_then_data_size() {
    let stripes = |config: Config, cores| config.validate(cores).expect("good").geometry.stripes;
    assert_eq!(stripes(small().shadow_devices(["a", "b", "c"]), 1), 3);
    assert_eq!(stripes(small(), 6), 6);
    assert_eq!(stripes(small(), 1000), 16, "4 wblocks each");
    assert_eq!(stripes(small(), 0), 1);
    assert_eq!(stripes(small().data_size(3 * 64 * KIB), 8), 1);
    assert_eq!(stripes(small().data_size(TIB), usize::MAX), 1024);
    assert_eq!(stripes(small().stripes(8), 2), 8, "more than cores is allowed");
}

#[test]
fn limits_shrink_with_the_wblock() {
    let plan = plan(&small());
    assert_eq!(plan.record_bytes_max, 65_408);
    assert_eq!(plan.flush_bytes, 65_536);
    let edges = small().max_record_size(64).flush_size(4 * KIB).max_write_cache(64 * KIB);
    assert_eq!(edges.validate(1).expect("the edges are in range").record_bytes_max, 64);
}

#[test]
fn zero_means_never_where_the_contract_says_so() {
    let config = small().shadow_dir("d").flush_max_ms(0).stop_writes_used_pct(0);
    let plan = plan(&config.overload_wait(Duration::ZERO).default_ttl(Duration::from_nanos(1)));
    assert_eq!(plan.flush_max, None);
    assert_eq!(plan.reclaim.overload_wait, Duration::ZERO);
    assert_eq!(plan.default_ttl, Some(Duration::from_nanos(1)));
}

#[test]
fn eviction_stops_5_below_its_start_unless_told_otherwise() {
    for (used_pct, target, target_pct) in
        [(80, None, 75), (3, None, 0), (80, Some(79), 79), (100, Some(0), 0)]
    {
        let mut config = small().evict_used_pct(used_pct);
        config.evict_target_pct = target;
        assert_eq!(plan(&config).reclaim.evict, Some(Evict { used_pct, target_pct }));
    }
}

#[test]
fn no_more_records_are_expected_than_fit() {
    assert_eq!(plan(&small().expected_records(1000)).expected_records, 1000);
    assert_eq!(plan(&small().expected_records(1 << 40)).expected_records, 4 * MIB / 16);
}

#[test]
fn a_clone_reports_to_the_same_callback() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let config = small().on_progress(move |progress| {
        sender.send(progress.records).expect("the receiver outlives the call");
    });
    let told = plan(&config.clone()).on_progress.expect("a callback");
    told.report(&super::Progress { records: 7, ..Default::default() });
    assert_eq!(receiver.recv(), Ok(7));
    assert!(format!("{config:?}").contains("on_progress: Some(OnProgress)"));
}

/// Settings show all that they hold as a plan shows it.
fn assert_in_force(settings: &Settings, plan: &Plan) {
    let reclaim = plan.reclaim;
    assert_eq!(settings.default_ttl(), plan.default_ttl);
    assert_eq!(settings.flush_max(), plan.flush_max);
    assert_eq!(settings.write_cache_bytes_max(), reclaim.write_cache_bytes_max);
    assert_eq!(settings.overload_wait(), reclaim.overload_wait);
    assert_eq!(settings.defrag_lwm_pct(), reclaim.defrag_lwm_pct);
    assert_eq!(settings.defrag_queue_min(), reclaim.defrag_queue_min);
    assert_eq!(settings.defrag_sleep(), reclaim.defrag_sleep);
    assert_eq!(settings.evict(), reclaim.evict);
    assert_eq!(settings.stop_writes_used_pct(), reclaim.stop_writes_used_pct);
    assert_eq!(settings.stop_writes_avail_pct(), reclaim.stop_writes_avail_pct);
    assert_eq!(settings.tombstone_grace(), reclaim.tombstone_grace);
    assert_eq!(settings.sweep_interval(), reclaim.sweep_interval);
}

/// Every key that may change, at an edge of its range.
fn changed(config: Config) -> Config {
    let longest = Duration::from_secs(100 * 365 * 86_400);
    config
        .flush_max_ms(0)
        .max_write_cache(u64::MAX)
        .overload_wait(Duration::ZERO)
        .defrag_lwm_pct(99)
        .defrag_queue_min(u32::MAX)
        .defrag_sleep(Duration::from_nanos(1))
        .evict_used_pct(100)
        .evict_target_pct(0)
        .stop_writes_used_pct(100)
        .stop_writes_avail_pct(0)
        .default_ttl(longest)
        .tombstone_grace(longest)
        .sweep_interval(Duration::from_millis(1))
}

#[test]
fn settings_hold_what_a_plan_says_to_the_edges() {
    let first = plan(&small());
    let settings = Settings::new(&first);
    assert_in_force(&settings, &first);
    let edges = plan(&changed(small()));
    settings.apply(&edges);
    assert_in_force(&settings, &edges);
    settings.apply(&first);
    assert_in_force(&settings, &first);
}

/// `config` as it is in force in a store that was opened with it.
fn in_force(config: Config) -> Config {
    let plan = plan(&config);
    config.resolved(&plan)
}

#[test]
fn what_may_change_changes_and_the_rest_stays() {
    let before = in_force(small().on_progress(|_| ()));
    assert!(before.on_progress.is_none());
    let after = before.changed_to(&changed(before.clone())).expect("all of them may change");
    assert_eq!(format!("{after:?}"), format!("{:?}", changed(before.clone())));
    // What the engine chose may be left out, and a size may be what was rounded up.
    let left_out = before.changed_to(&changed(Config::new())).expect("it says nothing else");
    assert_eq!(format!("{left_out:?}"), format!("{after:?}"));
    let rounded = before.clone().data_size(4 * MIB - 64 * KIB * 3);
    let _ = before.changed_to(&rounded).expect("it would be rounded up to the same");
}

#[test]
fn each_fixed_key_is_refused_by_its_name() {
    let before = in_force(small().shadow_dir("d"));
    let it = || before.clone();
    let bare = Config { shadow_dir: None, ..it() };
    let cases = [
        (bare.clone(), "shadow_dir", "left out"),
        (bare.shadow_devices(["d"]), "shadow_dir", "left out"),
        (it().shadow_dir("e"), "shadow_dir", "\"e\""),
        (it().shadow_devices(["d"]), "shadow_devices", "[\"d\"]"),
        (it().stripes(3), "stripes", "is 4, and 3"),
        (it().wblock_size(128 * KIB), "wblock_size", "is 64KiB, and 128KiB"),
        (it().data_size(4 * MIB + 1), "data_size", "is 4MiB, and 4194305B"),
        (it().data_size(u64::MAX), "data_size", "is 4MiB"),
        (it().data_size(0), "data_size", "is 4MiB, and 0B"),
        (it().max_record_size(64), "max_record_size", "and 64B"),
        (it().flush_size(4 * KIB), "flush_size", "and 4KiB"),
        (it().pin_cores(false), "pin_cores", "is true, and false"),
        (it().huge_pages(HugePages::Off), "huge_pages", "is transparent, and off"),
        (it().prefault(false), "prefault", "and false"),
        (it().lock_memory(true), "lock_memory", "and true"),
        (it().commit_to_device(true), "commit_to_device", "and true"),
        (it().direct_files(true), "direct_files", "and true"),
        (it().disable_odsync(true), "disable_odsync", "and true"),
        (it().on_damage(OnDamage::Refuse), "on_damage", "is report, and refuse"),
        (it().expected_records(1), "expected_records", "is 0, and 1"),
    ];
    for (asked, key, word) in &cases {
        let found = before.changed_to(&asked.clone().defrag_lwm_pct(9));
        let Err(Error::Config { key: found, reason }) = found else { panic!("{key}: {found:?}") };
        assert_eq!(found, *key, "{reason}");
        assert!(reason.contains("fixed at open") && reason.contains(word), "{key}: {reason}");
    }
}

proptest! {
    /// C1, C3: any numbers end in a refusal that names a key, or in a plan that holds together.
    #[test]
    fn any_numbers_end_in_a_sound_plan_or_a_refusal(
        data_size in prop_oneof![any::<u64>(), 0..64 * MIB, 15 * TIB..17 * TIB],
        wblock_shift in 12_u32..28,
        stripes in proptest::option::of(prop_oneof![any::<usize>(), 0..1100_usize]),
        record in proptest::option::of(prop_oneof![any::<u64>(), 0..16 * MIB]),
        flush_shift in proptest::option::of(0_u32..64),
        has_shadow: bool,
        cores: usize,
    ) {
        let mut config = Config::new().data_size(data_size).wblock_size(1 << wblock_shift);
        config.stripes = stripes;
        config.max_record_size = record;
        config.flush_size = flush_shift.map(|shift| 1 << shift);
        config.shadow_dir = has_shadow.then(|| "d".into());
        match config.validate(cores) {
            Ok(plan) => {
                let shape = plan.geometry;
                prop_assert!(shape.region_bytes() >= data_size && shape.region_bytes() <= 16 * TIB);
                prop_assert!(shape.wblocks() <= crate::unit::WBLOCKS_MAX);
                prop_assert!(shape.wblocks_per_stripe >= 2 + u32::from(has_shadow));
                prop_assert!(plan.record_bytes_max + 128 <= shape.wblock_bytes);
                prop_assert!(shape.wblock_bytes.is_multiple_of(plan.flush_bytes));
            }
            Err(Error::Config { key, reason }) => {
                prop_assert!(!key.is_empty() && !reason.is_empty());
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
