//! Tables for people.

use super::{GrowthRow, MemoryRow};
use crate::alone::Memory;
use crate::machine::Machine;
use crate::persist::{Durable, Reopen, Sustained};
use crate::throughput::{Measure, Row};
use crate::{field, latency};

/// What the figures were taken on.
pub fn heading(machine: &Machine) {
    let Machine { processor, cores, memory, kernel, huge_pages, load_average } = machine;
    println!("{processor}, {cores} cores, {} GiB, Linux {kernel}", memory >> 30);
    println!("huge pages {huge_pages}, load average {load_average} at the start");
}

/// The head of a table of throughput.
pub fn throughput_head(measure: &Measure<'_>) {
    let Measure { setup, subject, peers, threads, .. } = measure;
    println!(
        "\nthroughput: {} records, {} B values, {threads} threads; million operations a second",
        setup.records, setup.value_bytes
    );
    print!("{:18}{subject:>12}", "");
    for peer in peers {
        print!("{peer:>12}");
    }
    println!("   {subject} / best peer, quartiles; its background ns");
}

/// One work on all engines; the subject is the first.
pub fn throughput_line(rows: &[Row]) {
    let Some((subject, peers)) = rows.split_first() else { return };
    print!("{:18}", subject.work);
    for row in rows {
        print!("{:12.2}", row.mops);
    }
    let least = peers.iter().filter(|row| row.ratio.is_some()).min_by(|one, other| {
        one.ratio.unwrap_or(f64::MAX).total_cmp(&other.ratio.unwrap_or(f64::MAX))
    });
    if let Some(Row { engine, ratio: Some(ratio), ratio_quartiles: Some([low, high]), .. }) = least
    {
        print!("   {ratio:.2} / {engine}, {low:.2}..{high:.2}");
    }
    println!("; {:.0}", subject.background_ns);
}

/// Latency of one engine, gets or puts.
pub fn latency(row: &latency::Row) {
    let us = |all: [f64; 6]| all.map(|one| format!("{one:9.1}")).concat();
    println!("{:14}{:4}  least {}", row.engine, row.operation, us(row.least_us));
    println!("{:18}  median{}", "", us(row.median_us));
    println!("{:18}  null  {}", "", us(row.null_us));
}

/// Memory of one engine.
pub fn memory(row: &MemoryRow) {
    let MemoryRow { engine, records, value_bytes, memory } = row;
    let Memory { over, huge_pct } = memory;
    println!(
        "{engine:14}{records:>10} records of {value_bytes:4} B: {over:6.1} B over key and value, \
         {huge_pct:3.0}% in huge pages"
    );
}

/// Growth of one engine.
pub fn growth(row: &GrowthRow) {
    let GrowthRow { engine, records, least_worst_us, worst_us, best } = row;
    let all: Vec<String> = worst_us.iter().map(|one| format!("{:.2}", one / 1e3)).collect();
    println!(
        "{engine:14} to {records}: worst insert {:8.2} ms, of runs {}; the machine's {:.2} ms; \
         {} over 50 us; {:.1} s",
        least_worst_us / 1e3,
        all.join(" "),
        best.hiccup_us / 1e3,
        best.stalls.len(),
        best.seconds
    );
}

/// Sustained puts of one engine.
pub fn sustained(row: &Sustained) {
    let [median, low, high] = row.seconds;
    println!(
        "{:14}{:10.0} a second, {low:.0} to {high:.0}, median {median:.0}; us{}; CPU {:.0}%; \
         reopen {:.2} s",
        row.engine,
        row.puts,
        five(row.put_us),
        row.background_pct,
        row.reopen_seconds
    );
}

/// Durable puts of one engine.
pub fn durable(row: &Durable) {
    let Durable { engine, writers, puts, put_us } = row;
    println!("{engine:14}{puts:10.0} a second, {writers} writers; us{}", five(*put_us));
}

/// Reopening one engine.
#[expect(clippy::cast_precision_loss, reason = "bytes to three digits")]
pub fn reopen(row: &Reopen) {
    let Reopen { engine, records, seconds, cpu_seconds, disk_bytes } = row;
    let gigabytes = *disk_bytes as f64 / 1e9;
    println!(
        "{engine:14}{records:>10} records, {gigabytes:5.2} GB: {seconds:7.2} s, \
         {cpu_seconds:6.2} s of CPU, {:6.3} s/GB",
        seconds / gigabytes
    );
}

/// The workload from the field on one engine.
pub fn field(row: &field::Row) {
    println!(
        "{:14}{:6.2} s, settled {:.2} s, {} late; us: put mean {:.0},{}",
        row.engine,
        row.seconds,
        row.settled_seconds,
        row.late,
        row.put_mean_us,
        five(row.put_us)
    );
    println!("{:14}from the tick{}", "", five(row.put_due_us));
    println!("{:14}get mean {:.1},{} of {}", "", row.get_mean_us, five(row.get_us), row.gets);
}

/// p50, p99, p99.9, p99.99 and the maximum.
fn five(all: [f64; 5]) -> String {
    all.map(|one| format!(" {one:.0}")).concat()
}
