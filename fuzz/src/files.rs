//! Whole shadows: opened by the engine, and looked into by the command.

use super::is_unprintable;
use super::script::Script;
use brindle::testing::{Harness, SimConfig, SimDisk};
use brindle::{Config, HugePages, PutOptions};
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::sync::{Arc, OnceLock};

const WBLOCK_BYTES: u64 = 64 << 10;
const WBLOCKS: u64 = 5;
const FILE_BYTES: usize = (64 << 10) + (WBLOCKS * WBLOCK_BYTES) as usize;

fn config() -> Config {
    Config::new()
        .data_size(WBLOCKS * WBLOCK_BYTES)
        .wblock_size(WBLOCK_BYTES)
        .stripes(1)
        .huge_pages(HugePages::Off)
        .prefault(false)
        .pin_cores(false)
        .flush_max_ms(0)
}

/// The shadow of a store of two runs: overwritten, deleted and expiring records, many flushes.
/// `is_clean`: as it was closed, or as a crash left it.
fn shadow(is_clean: bool) -> &'static [u8] {
    static IMAGES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    let images = IMAGES.get_or_init(|| {
        let disk = disk(vec![0; FILE_BYTES]);
        let mut open = Vec::new();
        for run in 0..2_u8 {
            let harness = Harness { reclaims: false, ..Harness::default() };
            let store = harness.open_on(config(), Arc::new(disk.clone())).expect("a sound disk");
            for step in 0..40_u8 {
                let key = [b'k', step % 16, 0x1b, 0xc2, 0x9b];
                let value = vec![run * 64 + step; usize::from(step) * 37];
                let options = PutOptions::new().expires_at(
                    std::time::UNIX_EPOCH + std::time::Duration::from_secs(10_000_000_000),
                );
                match step % 7 {
                    0 => drop(store.delete(key)),
                    1 => drop(store.put_with(key, value, &options)),
                    _ => drop(store.put(key, value)),
                }
                if step % 9 == 0 {
                    store.flush().expect("a sound disk");
                }
            }
            open = disk.image(brindle::testing::FileIndex(0));
            store.close().expect("a sound disk");
        }
        [open, disk.image(brindle::testing::FileIndex(0))]
    });
    &images[usize::from(is_clean)]
}

fn disk(image: Vec<u8>) -> SimDisk {
    let file_bytes = image.len();
    SimDisk::from_images(vec![image], SimConfig { files: 1, file_bytes, ..SimConfig::default() })
}

/// A shadow, changed as the script says, or cut.
fn damaged(bytes: &[u8]) -> Vec<u8> {
    let mut script = Script(bytes);
    let kind = script.u8();
    let mut image = shadow(kind % 2 == 0).to_vec();
    if kind % 16 >= 14 {
        image.truncate(script.below(u32::try_from(image.len()).expect("small")) as usize);
    }
    script.patch(&mut image);
    image
}

/// A store is opened on it, or it is refused; what is read from it can be read twice.
pub fn open(bytes: &[u8]) {
    let harness = Harness { reclaims: false, ..Harness::default() };
    let disk = disk(damaged(bytes));
    let Ok(store) = harness.open_on(config(), Arc::new(disk)) else { return };
    let mut count = 0;
    for record in store.scan() {
        let again = store.get(record.key()).expect("what is scanned can be got");
        assert!(*again == *record && again.version() == record.version());
        count += 1;
    }
    assert!(count <= store.len());
    drop(store.put("new", "value"));
    let _ = (store.health(), store.stats(), store.close());
}

/// The command reads it, or these very bytes as a file: it ends, shows nothing raw, and leaves the
/// file as it is.
pub fn inspector(bytes: &[u8]) {
    let image = if bytes.first() == Some(&255) { bytes.to_vec() } else { damaged(bytes) };
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("stripe-000.shadow");
    fs::write(&path, &image).expect("room");
    for arguments in [
        &["verify", "@"][..],
        &["verify", "--json", "@"],
        &["info", "--deep", "@"],
        &["map", "@"],
        &["wblock", "--hex", "@", "0"],
        &["record", "@", "8"],
        &["history", "@", "key"],
        &["stats", "@"],
        &["ls", "@"],
        &["export", "@"],
        &["report", "--html", "-", "@"],
    ] {
        // `@` stands for the file.
        let argument = |text: &&str| match *text {
            "@" => path.clone().into(),
            text => OsString::from(text),
        };
        let arguments = ["brindle"].iter().chain(arguments).map(argument);
        let mut out = Vec::new();
        let status = brindle_tools::run_silently(arguments, &mut out);
        assert!(status <= 2);
        let text = std::str::from_utf8(&out).expect("output is text");
        let raw = text.chars().find(|c| is_unprintable(*c) && *c != '\n');
        assert_eq!(raw, None, "{}", out.escape_ascii());
    }
    assert!(fs::read(&path).expect("it is there") == image, "the file was written to");
    let gone = fs::metadata(dir.path().join("lock")).map_err(|error| error.kind());
    assert!(matches!(gone, Err(ErrorKind::NotFound)));
}
