//! A sequence of operations on a store, against a map.

use super::script::Script;
use brindle::testing::{Harness, SimConfig, SimDisk};
use brindle::{Condition, Config, Error, HugePages, PutOptions, Store};
use std::collections::BTreeMap;
use std::sync::Arc;

const WBLOCK_BYTES: u64 = 64 << 10;
const WBLOCKS: u64 = 8;
const FILE_BYTES: usize = (64 << 10) + (WBLOCKS * WBLOCK_BYTES) as usize;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn open(disk: &SimDisk) -> Store {
    let config = Config::new()
        .data_size(WBLOCKS * WBLOCK_BYTES)
        .wblock_size(WBLOCK_BYTES)
        .stripes(1)
        .huge_pages(HugePages::Off)
        .prefault(false)
        .pin_cores(false)
        .flush_max_ms(0)
        .overload_wait(std::time::Duration::from_secs(60));
    Harness::default().open_on(config, Arc::new(disk.clone())).expect("a sound disk")
}

/// Few keys, long and short, so that they are overwritten.
fn key(script: &mut Script<'_>) -> Vec<u8> {
    let number = script.u8();
    let len =
        if number % 8 == 7 { 1 + usize::from(number) * 40 } else { 1 + usize::from(number % 3) };
    vec![number % 11; len]
}

fn value(script: &mut Script<'_>) -> Vec<u8> {
    let len = usize::from(script.u16());
    let len = if len % 16 == 0 { len % 20_000 } else { len % 300 };
    let seed = script.u8();
    (0..=255).cycle().skip(seed.into()).take(len).collect()
}

/// Does what a map does, through restarts.
pub fn operations(bytes: &[u8]) {
    let mut script = Script(bytes);
    let disk = SimDisk::new(SimConfig { files: 1, file_bytes: FILE_BYTES, ..SimConfig::default() });
    let (mut store, mut model) = (open(&disk), Model::new());
    for _ in 0..400 {
        if script.is_over() {
            break;
        }
        if script.u8() % 32 == 31 {
            store.close().expect("a sound disk");
            store = open(&disk);
            compare(&store, &model);
        }
        step(&store, &mut script, &mut model);
    }
    compare(&store, &model);
    store.close().expect("a sound disk");
    compare(&open(&disk), &model);
}

fn step(store: &Store, script: &mut Script<'_>, model: &mut Model) {
    let kind = script.u8();
    let key = key(script);
    match kind % 12 {
        0..=3 => {
            let value = value(script);
            if is_done(store.put(&key, &value)) {
                model.insert(key, value);
            }
        }
        4 => {
            let (when, value) = (script.u8(), value(script));
            let (when, holds) = match when % 3 {
                0 => (Condition::IfAbsent, !model.contains_key(&key)),
                1 => (Condition::IfPresent, model.contains_key(&key)),
                _ => (Condition::Always, true),
            };
            match store.put_with(&key, &value, &PutOptions::new().condition(when)) {
                Err(Error::ConditionFailed) => assert!(!holds),
                done => {
                    if is_done(done) {
                        assert!(holds);
                        model.insert(key, value);
                    }
                }
            }
        }
        5 | 6 => {
            let was_live = store.delete(&key).expect("room is kept back for deletes");
            assert_eq!(was_live, model.remove(&key).is_some());
        }
        7 => {
            let more = script.u8();
            let add = |old: Option<&[u8]>| {
                let mut new = old.unwrap_or_default().to_vec();
                new.truncate(1_000);
                new.push(more);
                (more != 0).then_some(new)
            };
            if is_done(store.update(&key, add)) {
                match add(model.get(&key).map(Vec::as_slice)) {
                    Some(new) => drop(model.insert(key, new)),
                    None => drop(model.remove(&key)),
                }
            }
        }
        8 => store.flush().expect("a sound disk"),
        9 => compare(store, model),
        _ => assert_eq!(store.get(&key).as_deref(), model.get(&key).map(Vec::as_slice)),
    }
}

/// False: there was no room, and nothing was done.
fn is_done<T>(result: brindle::Result<T>) -> bool {
    match result {
        Ok(_) => true,
        Err(Error::OutOfSpace | Error::StopWrites { .. } | Error::Overloaded) => false,
        Err(error) => panic!("{error:?}"),
    }
}

fn compare(store: &Store, model: &Model) {
    let seen: Model =
        store.scan().map(|record| (record.key().to_vec(), record.value().to_vec())).collect();
    assert!(seen == *model, "{:?}, not {:?}", seen.keys(), model.keys());
}
