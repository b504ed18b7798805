//! Tables for people.

use crate::machine::Machine;
use crate::throughput::{Measure, Row};

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
    peers.iter().for_each(|peer| print!("{peer:>12}"));
    println!("   {subject} / best peer, quartiles; its background ns");
}

/// One work on all engines; the subject is the first.
pub fn throughput_line(rows: &[Row]) {
    let Some((subject, peers)) = rows.split_first() else { return };
    print!("{:18}", subject.work);
    rows.iter().for_each(|row| print!("{:12.2}", row.mops));
    let least = peers.iter().filter(|row| row.ratio.is_some()).min_by(|one, other| {
        one.ratio.unwrap_or(f64::MAX).total_cmp(&other.ratio.unwrap_or(f64::MAX))
    });
    if let Some(Row { engine, ratio: Some(ratio), ratio_quartiles: Some([low, high]), .. }) = least
    {
        print!("   {ratio:.2} / {engine}, {low:.2}..{high:.2}");
    }
    println!("; {:.0}", subject.background_ns);
}
