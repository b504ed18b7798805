//! Figures for the `metrics` facade and for serde: complete, described, and told apart by store.

#![expect(clippy::unwrap_used, reason = "a failure fails the test")]

use brindle::{Config, METRICS, Store};
use metrics_exporter_prometheus::PrometheusBuilder;
use std::collections::BTreeSet;

fn open(records: u64) -> Store {
    let store = Store::open(Config::new().data_size(16 << 20)).unwrap();
    for record in 0..records {
        store.put(record.to_le_bytes(), "value").unwrap();
    }
    store
}

/// Paths of the numbers and truths in `value`.
fn leaves(path: &str, value: &serde_json::Value, into: &mut BTreeSet<String>) {
    if let Some(object) = value.as_object() {
        for (name, value) in object {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            leaves(&path, value, into);
        }
    } else if value.is_number() || value.is_boolean() {
        into.insert(path.to_owned());
    }
}

#[test]
fn every_figure_of_the_statistics_is_a_metric() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new().data_size(32 << 20).shadow_dir(dir.path().join("data"));
    let stats = serde_json::to_value(Store::open(config).unwrap().stats()).unwrap();
    let mut fields = BTreeSet::new();
    leaves("", &stats, &mut fields);
    // What the cold start found does not change: its figures are for `stats` and `health`.
    fields.retain(|field| !field.starts_with("load.") || field == "load.records");
    // The same as one among the wblocks by state.
    fields.remove("free_wblocks");
    fields.insert("runway.seconds_left".to_owned());
    let metrics: BTreeSet<_> = METRICS.iter().map(|metric| metric.field.to_owned()).collect();
    assert_eq!(metrics, fields);
}

#[test]
fn names_are_distinct_and_follow_the_custom_of_prometheus() {
    let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), METRICS.len());
    for metric in METRICS {
        assert!(metric.name.starts_with("brindle_"), "{}", metric.name);
        assert_eq!(metric.name.ends_with("_total"), metric.is_counter, "{}", metric.name);
        assert!(metric.help.ends_with('.') && metric.help.len() > 5, "{}", metric.name);
    }
}

#[test]
fn stores_are_told_apart_and_calls_are_measured() {
    let recorder = PrometheusBuilder::new().install_recorder().unwrap();
    let (first, second) = (open(3), open(5));
    first.sample_latencies("first", 10);
    for _ in 0..1_000 {
        first.get(0_u64.to_le_bytes()).unwrap();
    }
    first.publish_metrics("first");
    second.publish_metrics("second");
    let text = recorder.render();
    for line in [
        "brindle_records{store=\"first\"} 3",
        "brindle_records{store=\"second\"} 5",
        "brindle_gets_total{store=\"first\"} 1000",
        "brindle_get_seconds_count{store=\"first\"} 100",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }

    first.sample_latencies("first", 0);
    for _ in 0..100 {
        first.get(0_u64.to_le_bytes()).unwrap();
    }
    let calls = "brindle_gets_total{store=\"first\"} 1000\n";
    assert!(recorder.render().contains(calls), "measuring has ended");
}
