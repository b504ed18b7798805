//! Several reclaimers: there is one for every eight stripes, each with wblocks of its own. What one
//! of them sees is not all there is.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use brindle::{Config, Error, Store};
use common::{WBLOCK_BYTES, config};
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
