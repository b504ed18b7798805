//! Several reclaimers: there is one for every eight stripes, each with wblocks of its own. What one
//! of them sees is not all there is.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use brindle::testing::{Harness, Pump, Reclaimer};
use brindle::{Config, DeleteOptions, Error, Store};
use common::{WBLOCK_BYTES, config, disk};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// Two reclaimers: the first has stripes 0 to 3.
const STRIPES: u32 = 9;
/// Each record takes a wblock for itself.
const VALUE_BYTES: usize = WBLOCK_BYTES as usize - 1024;

/// A store that stops only when it is full.
fn to_the_brim(stripes: u32, wblocks: u32) -> Config {
    config(stripes, wblocks).stop_writes_used_pct(0).stop_writes_avail_pct(0)
}

#[test]
fn a_put_waits_for_what_any_reclaimer_has_on_its_way() {
    let store = Store::open(to_the_brim(STRIPES, 4).overload_wait(Duration::from_secs(20)));
    let store = store.unwrap();
    let value = vec![1; VALUE_BYTES];
    // The wblocks of the last stripe first: the second reclaimer's.
    let bound = store.bind_thread(8).unwrap();
    let last = (0..STRIPES * 4).find(|key| store.put(key.to_le_bytes(), &value).is_err());
    let last = last.expect("the rest is kept back");
    let (pinned, is_pinned) = channel();
    thread::scope(|scope| {
        let store = &store;
        scope.spawn(move || {
            let pin = store.pin();
            pinned.send(()).unwrap();
            thread::sleep(Duration::from_millis(500));
            drop(pin);
        });
        is_pinned.recv().unwrap();
        // Its wblock is empty now, and waits for the pin. All else is live.
        assert!(store.delete(0_u32.to_le_bytes()).unwrap());
        let put = store.put(last.to_le_bytes(), &value);
        assert!(!matches!(put, Err(Error::OutOfSpace)), "a wblock is on its way");
        put.unwrap();
    });
    drop(bound);
}

/// Two reclaimers on a simulated disk, each with a wblock in which nothing is live any more, and
/// which is durable.
fn driven() -> (Store, Pump, Vec<Reclaimer>) {
    let config = to_the_brim(STRIPES, 4)
        .sweep_interval(Duration::from_millis(1))
        .tombstone_grace(Duration::ZERO);
    let members = Arc::new(disk(STRIPES, 4));
    let (store, mut pump, reclaimers) = Harness::default().open_driven(config, members).unwrap();
    for stripe in [0, 8] {
        let _bound = store.bind_thread(stripe).unwrap();
        for put in 0..2 {
            store.put(stripe.to_le_bytes(), vec![put; VALUE_BYTES]).unwrap();
        }
    }
    pump.barrier().unwrap();
    assert_eq!(reclaimers.len(), 2);
    (store, pump, reclaimers)
}

fn poll_all(reclaimers: &mut [Reclaimer]) {
    for reclaimer in reclaimers {
        reclaimer.poll();
    }
}

#[test]
fn what_waits_in_every_gate_is_counted() {
    let (store, mut pump, mut reclaimers) = driven();
    for _ in 0..2 {
        poll_all(&mut reclaimers);
    }
    let counted = |store: &Store| store.stats().reclaim.waiting_for_barrier;
    assert_eq!(store.stats().wblocks.quarantined, 2);
    assert_eq!(counted(&store), 2);
    for _ in 0..20 {
        pump.poll(true).unwrap();
        poll_all(&mut reclaimers);
    }
    assert_eq!((counted(&store), store.stats().reclaim.waiting_for_pins), (0, 0));
    assert_eq!(store.stats().reclaim.freed_wblocks, 2);
}

#[test]
fn a_raid_does_not_wait_for_the_gate_of_another_reclaimer() {
    let (store, _pump, mut reclaimers) = driven();
    let [first, second] = &mut reclaimers[..] else { panic!("two") };
    second.poll();
    assert_eq!(store.stats().wblocks.quarantined, 1, "nobody pumps: it stays so");
    store.delete_with("absent", &DeleteOptions::new().version(7.into())).unwrap();
    assert_eq!(store.stats().tombstones, 1);
    for _ in 0..200 {
        thread::sleep(Duration::from_micros(200));
        first.poll();
    }
    assert_eq!(store.stats().tombstones, 0, "there never was an older copy");
}
