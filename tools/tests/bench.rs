//! `bench` measures what it says.

mod common;

use common::{arg, brindle};
use serde_json::json;

#[test]
fn each_workload_is_measured() {
    let common = ["--records", "2000", "--seconds", "1", "--threads", "2", "--data-size", "256MiB"];
    let dir = tempfile::tempdir().unwrap();
    let svg = dir.path().join("plot.svg");
    let json = ["bench", "--json", "--workloads", "a,c,d,f", "--svg", arg(&svg)];
    let args = [&json[..], &common].concat();
    let report = brindle(&args).with(0).json();
    let workloads = report["workloads"].as_array().unwrap();
    let names: Vec<_> = workloads.iter().map(|one| one["workload"].as_str().unwrap()).collect();
    assert_eq!(names, ["load A", "A", "load C", "C", "load D", "D", "load F", "F"]);
    for one in workloads {
        assert!(one["operations"].as_u64().unwrap() > 0, "{one}");
        let latency = &one["latency"][0];
        assert!(latency["p50_ns"].as_u64() <= latency["p99_9_ns"].as_u64(), "{one}");
        assert!(one["workload"] == "D" || one["misses"] == 0, "{one}");
    }
    assert_eq!(workloads[0]["operations"], json!(2_000));
    let plot = std::fs::read_to_string(&svg).unwrap();
    assert_eq!(plot.matches("<g ").count(), 4, "a panel for each workload");
    assert_eq!(plot.matches("<path class=\"c").count(), 7, "a curve for each kind");
}

#[test]
fn a_shadow_of_the_bench_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let args =
        ["bench", "--workloads", "b", "--records", "500", "--seconds", "1", "--threads", "1"];
    let shadow =
        ["--distribution", "uniform", "--data-size", "64MiB", "--shadow-dir", arg(dir.path())];
    let ran = brindle(&[&args[..], &shadow].concat()).with(0);
    assert!(ran.text().contains("load B") && ran.text().contains("p99.9"), "{}", ran.text());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
