//! `report`: one page that stands alone, and that a browser shows.
//!
//! Where there is no Chromium the part that needs it says so and is skipped. The pictures stay in
//! the folder that cargo has for tests, to be looked at.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

mod common;

use brindle::{Config, PutOptions, Store};
use common::{arg, brindle};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const AREA: usize = 64 << 10;

/// A store with records of all sizes and ages; then some of its bytes are changed.
fn damaged_store(dir: &Path) {
    let config = Config::new().data_size(16 << 20).wblock_size(64 << 10).stripes(2);
    let store = Store::open(config.shadow_dir(dir)).unwrap();
    let put = |n: u64| {
        let size = 16 << (n % 7) | usize::try_from(n % 13).unwrap();
        let ttl = Duration::from_secs(if n.is_multiple_of(3) { 60 << (n % 15) } else { 0 });
        let value = vec![b'v'; size];
        store.put_with(format!("user:{n:05}"), value, &PutOptions::new().ttl(ttl)).unwrap();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| (0..12_000).for_each(put));
    });
    (0..9_000).filter(|n| n % 4 != 0).for_each(put);
    (0..500).for_each(|n| put(n % 20));
    store.put("<script>alert(1)</script> & \"quoted\"", vec![b'v'; 9_000]).unwrap();
    for n in 0..600 {
        assert!(store.delete(format!("user:{:05}", n * 11)).unwrap());
    }
    store.close().unwrap();
    let files: Vec<_> =
        (0..2).map(|stripe| dir.join(format!("stripe-00{stripe}.shadow"))).collect();
    // The one that got records: which it is depends on the cores that the threads ran on.
    let used = |file: &&PathBuf| fs::read(file).unwrap()[AREA + 10 * (64 << 10)] != 0;
    let file = files.iter().find(used).unwrap();
    let mut bytes = fs::read(file).unwrap();
    bytes[300] ^= 1;
    for wblock in [2, 9, 10] {
        bytes[AREA + wblock * (64 << 10) + 5_000] ^= 1;
    }
    bytes[AREA + 4 * (64 << 10)..][..128].fill(9);
    fs::write(file, bytes).unwrap();
}

fn chromium() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&paths)
        .flat_map(|dir| names.map(|name| dir.join(name)))
        .find(|path| path.is_file())
}

fn browse(chromium: &Path, options: &[&str], page: &Path) -> Vec<u8> {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(chromium)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .arg(format!("--user-data-dir={}", home.path().display()))
        .args(options)
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", output.stderr.escape_ascii());
    output.stdout
}

#[test]
fn the_page_stands_alone_and_a_browser_shows_it() {
    let dir = tempfile::tempdir().unwrap();
    damaged_store(dir.path());
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let page = tmp.join("report.html");
    let ran = brindle(&["report", "--html", arg(&page), arg(dir.path())]).with(1);
    assert!(ran.text().contains(" damaged"), "{}", ran.text());
    let html = fs::read_to_string(&page).unwrap();
    for outside in ["http://", "https://", "<script", "src=", "url(", "@import", "<link"] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert!(html.contains("&lt;script&gt;alert(1)"), "the largest key, escaped");
    assert!(html.contains("prefers-color-scheme:dark") && html.contains("width=device-width"));

    let Some(chromium) = chromium() else {
        println!("skipped: no chromium in PATH");
        return;
    };
    let dom = String::from_utf8(browse(&chromium, &["--dump-dom"], &page)).unwrap();
    let count = |part: &str| dom.matches(part).count();
    assert!(count("<title>wblock ") == 2 * 256, "a cell for each wblock, on two maps");
    assert!(count("✗ damage") >= 4 && count("class=\"tile\"") >= 6);
    for (name, size, scheme) in
        [("desk", "1100,4200", "1"), ("phone", "500,4200", "1"), ("dark", "1100,2600", "0")]
    {
        let picture = tmp.join(format!("report-{name}.png"));
        let options = [
            format!("--window-size={size}"),
            format!("--screenshot={}", picture.display()),
            format!("--blink-settings=preferredColorScheme={scheme}"),
        ];
        browse(&chromium, &options.each_ref().map(String::as_str), &page);
        let bytes = fs::metadata(&picture).unwrap().len();
        assert!(bytes > 40_000, "{name}: {bytes} bytes are hardly a picture of it");
    }
}

#[test]
fn a_clean_shadow_has_a_clean_page() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(
        Config::new()
            .data_size(1 << 20)
            .wblock_size(64 << 10)
            .stripes(1)
            .shadow_dir(dir.path().join("data")),
    )
    .unwrap();
    store.put("key", "a value that no page shows").unwrap();
    store.close().unwrap();
    let data = dir.path().join("data");
    let page = brindle(&["report", "--html", "-", arg(&data)]).with(0);
    assert!(page.text().contains("Clean:") && !page.text().contains("a value that"));
    let out = dir.path().join("page.html");
    let said = brindle(&["report", "--json", "--html", arg(&out), arg(&data)]).with(0).json();
    assert_eq!(said["bytes"], fs::metadata(&out).unwrap().len());
    brindle(&["report", "--html", arg(&out), arg(&out)]).with(2);
}
