//! `import` and `export`: what goes in comes out, byte for byte.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use brindle::{Config, PutOptions, Store};
use common::{arg, brindle, brindle_with, exported};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[test]
fn generated_lines_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let shadow = dir.path().join("new/shadow");
    let mut expected = BTreeMap::new();
    let mut text = String::new();
    for n in 0..3_000_u32 {
        let key = format!("schlüssel-{}-\u{1f511}", n % 2_500); // 500 keys come twice
        let text_of_n = "a\n\"b\"\\ \u{7f} ü";
        let long = "y".repeat(n as usize % 700);
        let value = json!({ "n": n, "text": text_of_n, "list": [null, true, 1.50], "x": long });
        text.push_str(
            &format!("{{\"key\": {}, \"value\": {value:#}}}\n", json!(key)).replace('\n', " "),
        );
        text.push('\n');
        expected.insert(key, value);
    }
    let args = ["import", "--json", "--shadow-dir", arg(&shadow), "--data-size", "32MiB", "-"];
    let ran = brindle_with(&args, text.as_bytes()).with(0);
    assert_eq!((&ran.json()["put"], &ran.json()["skipped"]), (&json!(3_000), &json!(0)));

    let lines = exported(&shadow);
    assert_eq!(lines.len(), expected.len());
    for (key, value) in &expected {
        assert_eq!(&lines[key]["value"], value, "{key}");
    }
    assert!(brindle(&["verify", arg(&shadow)]).with(0).text().starts_with("clean: "));

    // Once more, gzipped, into another store: the same lines, versions included.
    let file = dir.path().join("export.ndjson.gz");
    let mut gzip = GzEncoder::new(File::create(&file).unwrap(), Compression::fast());
    gzip.write_all(&brindle(&["export", arg(&shadow)]).with(0).out).unwrap();
    gzip.finish().unwrap();
    let copy = dir.path().join("copy");
    brindle(&["import", "--shadow-dir", arg(&copy), arg(&file)]).with(0);
    assert_eq!(exported(&copy), lines);
    // And again into the same: every line is there already.
    let again = brindle(&["import", "--json", "--shadow-dir", arg(&copy), arg(&file)]).with(0);
    assert_eq!((&again.json()["put"], &again.json()["older"]), (&json!(2_500), &json!(0)));
    assert_eq!(exported(&copy), lines);
}

#[test]
fn bad_lines_are_named_and_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let long = format!("{{\"key\": \"{}\", \"value\": 1}}", "k".repeat(65_536));
    let lines = [
        "\u{feff}{\"key\": \"a\", \"value\": 1}",
        "not json",
        "",
        "{\"key\": \"\", \"value\": 1}",
        "{\"key\": \"b\"}",
        "{\"key\": \"b\", \"value\": 2, \"ttl_msec\": 5}",
        long.as_str(),
        "{\"key\": \"b\", \"value\": 2, \"version\": 5}\r",
        "{\"key\": \"b\", \"value\": 3, \"version\": 4}",
        "{\"key\": \"c\", \"value\": null}", // without a line feed
    ];
    let text = lines.join("\n");
    let args = ["import", "--json", "--shadow-dir", arg(dir.path()), "--data-size", "32MiB", "-"];
    let ran = brindle_with(&args, text.as_bytes()).with(0);
    let counts = ran.json();
    assert_eq!(counts["lines"], 10);
    assert_eq!(
        (&counts["put"], &counts["older"], &counts["skipped"]),
        (&json!(3), &json!(1), &json!(5))
    );
    for line in [2, 4, 5, 6, 7] {
        assert!(ran.err.contains(&format!("line {line} is skipped: ")), "{}", ran.err);
    }
    let listed: Vec<_> =
        counts["skipped_lines"].as_array().unwrap().iter().map(|l| l["line"].clone()).collect();
    assert_eq!(listed, [2, 4, 5, 6, 7]);
    let lines = exported(dir.path());
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines["b"]["value"], &lines["b"]["version"]), (&json!(2), &json!(5)));
    assert_eq!(lines["c"]["value"], Value::Null);
}

#[test]
fn any_bytes_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let config = || Config::new().data_size(4 << 20).wblock_size(64 << 10).stripes(2);
    let records: Vec<(Vec<u8>, Vec<u8>)> = [
        &b""[..],
        b"null",
        b"{ \"a\": 1}",
        b"\xff\x00",
        b"plain",
        b"\"a\\/b\"",
        b"1e400",
        b" 1",
        b"[1,\n2]",
    ]
    .iter()
    .enumerate()
    .map(|(n, value)| (vec![b'k', u8::try_from(n).unwrap() * 30], value.to_vec()))
    .collect();
    let store = Store::open(config().shadow_dir(&first)).unwrap();
    store.put_many(records.iter().map(|(key, value)| (key, value))).unwrap();
    store.delete(&records[4].0).unwrap();
    store.close().unwrap();

    let text = brindle(&["export", arg(&first)]).with(0).out;
    Store::open(config().shadow_dir(&second)).unwrap().close().unwrap();
    // An existing shadow keeps its size and shape.
    brindle_with(&["import", "--shadow-dir", arg(&second), "-"], &text).with(0);
    assert_eq!(exported(&second), exported(&first));
    let (first, second) = (
        Store::open(config().shadow_dir(&first)).unwrap(),
        Store::open(config().shadow_dir(&second)).unwrap(),
    );
    for (n, (key, value)) in records.iter().enumerate() {
        let ours = second.get(key).map(|record| (record.to_vec(), record.version()));
        let theirs = first.get(key).map(|record| (record.to_vec(), record.version()));
        assert_eq!(ours, theirs);
        assert_eq!(ours.map(|(value, _)| value), (n != 4).then(|| value.clone()));
    }
}

#[test]
fn a_life_ends_where_it_was_said() {
    let dir = tempfile::tempdir().unwrap();
    let soon = now_ms() + 3_600_000;
    let text = format!(
        "{{\"key\":\"ttl\",\"value\":1,\"ttl_ms\":3600000}}\n\
         {{\"key\":\"at\",\"value\":1,\"expires_at_ms\":{soon}}}\n\
         {{\"key\":\"micros\",\"value\":1,\"expires_at_us\":{soon}123}}\n\
         {{\"key\":\"past\",\"value\":1,\"expires_at_ms\":1000}}\n\
         {{\"key\":\"blink\",\"value\":1,\"ttl_ms\":1}}\n\
         {{\"key\":\"never\",\"value\":1,\"ttl_ms\":0}}\n"
    );
    let shadow = arg(dir.path());
    brindle_with(&["import", "--shadow-dir", shadow, "--data-size", "32MiB", "-"], text.as_bytes())
        .with(0);
    std::thread::sleep(Duration::from_millis(5));
    let lines = exported(dir.path());
    assert_eq!(lines.keys().collect::<Vec<_>>(), ["at", "micros", "never", "ttl"]);
    assert_eq!(lines["at"]["expires_at_us"], soon * 1_000);
    assert_eq!(lines["micros"]["expires_at_us"], soon * 1_000 + 123);
    assert!(lines["never"].get("expires_at_us").is_none());
    let ttl = lines["ttl"]["expires_at_us"].as_u64().unwrap() / 1_000;
    assert!((soon - 1_000..soon + 60_000).contains(&ttl), "{ttl} against {soon}");
    brindle(&["get", shadow, "past"]).with(1);
    brindle(&["get", shadow, "at"]).with(0);
}

#[test]
fn a_full_store_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let value = "x".repeat(900_000);
    let line = |n: u32| format!("{{\"key\":\"{n}\",\"value\":\"{value}\"}}");
    let text = (0..60).map(line).collect::<Vec<_>>().join("\n");
    let args = ["import", "--json", "--shadow-dir", arg(dir.path()), "--data-size", "24MiB", "-"];
    let ran = common::tool()
        .args(args)
        .stdin(std::process::Stdio::from(as_file(&text)))
        .output()
        .map(common::Ran::from)
        .unwrap()
        .with(2);
    assert!(ran.err.contains("--data-size") && ran.err.contains("24 MiB"), "{}", ran.err);
    let put = ran.json()["put"].as_u64().unwrap();
    assert!(put > 5, "{put}");
    assert_eq!(exported(dir.path()).len() as u64, put, "what was put is stored");
}

fn as_file(text: &str) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    file
}

/// Real keys and sizes, where the data is at hand.
#[test]
fn the_packages_of_debian_come_back() {
    let data =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/debian-packages.ndjson.gz");
    let Ok(packed) = File::open(&data) else {
        println!("left out: there is no {}", data.display());
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let shadow = arg(dir.path());
    brindle(&["import", "--shadow-dir", shadow, arg(&data)]).with(0);
    assert!(brindle(&["verify", shadow]).with(0).text().starts_with("clean: "));

    let mut text = String::new();
    MultiGzDecoder::new(packed).read_to_string(&mut text).unwrap();
    let mut expected = BTreeMap::new();
    let mut count = 0;
    for line in text.lines() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        expected.insert(line["key"].as_str().unwrap().to_owned(), line["value"].take());
        count += 1;
    }
    assert!(count > expected.len(), "a key comes twice");
    let lines = exported(dir.path());
    assert_eq!(lines.len(), expected.len());
    for (key, value) in &expected {
        assert_eq!(&lines[key]["value"], value, "{key}");
    }
    let bash = brindle(&["get", shadow, "bash"]).with(0);
    assert_eq!(bash.json(), expected["bash"]);
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count() as u64,
        brindle(&["info", "--json", shadow]).with(0).json()["members"].as_array().unwrap().len()
            as u64
    );
}

#[test]
fn an_export_in_several_files_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let config = Config::new().data_size(4 << 20).wblock_size(64 << 10).shadow_dir(at("data"));
    let store = Store::open(config).unwrap();
    for n in 0..500_u32 {
        let key = format!("{}:{n}", if n % 5 == 0 { "user" } else { "item" });
        let options = PutOptions::new().version(u64::from(1_000 + n).into());
        store.put_with(key, "v".repeat(n as usize), &options).unwrap();
    }
    store.close().unwrap();
    let (data, to) = (at("data"), at("to"));
    let export = |options: &[&str]| {
        fs::remove_dir_all(&to).ok();
        let args = [&["export", "--json", "--to", arg(&to), arg(&data)][..], options].concat();
        brindle(&args).with(0).json()
    };
    let all = exported(&data);
    let by_records = export(&["--rotate-records", "120"]);
    let counts: Vec<_> = by_records["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["records"].clone())
        .collect();
    assert_eq!(counts, [120, 120, 120, 120, 20]);

    let by_bytes = export(&["--rotate-bytes", "16KiB"]);
    let files = by_bytes["files"].as_array().unwrap();
    assert!(files.len() > 8, "{by_bytes}");
    let mut paths: Vec<_> = fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert_eq!(paths.len(), files.len(), "nothing unfinished is left");
    for path in &paths {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.len() <= 16 << 10 && text.ends_with('\n'), "{}", path.display());
    }
    let again = brindle(&["export", "--to", arg(&to), arg(&data)]).with(2);
    assert!(again.err.contains("is there"), "{}", again.err);

    // All files at once, the last one twice and the others in any order.
    let copy = at("copy");
    let mut args = vec!["import", "--json", "--shadow-dir", arg(&copy)];
    args.extend(paths.iter().rev().chain(&paths[..1]).map(|path| arg(path)));
    assert_eq!(brindle(&args).with(0).json()["skipped"], 0);
    assert_eq!(exported(&copy), all);

    let users = export(&["--prefix", "user:"]);
    assert_eq!(users["records"], 100);
    assert_eq!(export(&["--since", "1300"])["records"], 200);
    assert_eq!(export(&["--since", "2999-01-01T00:00:00Z"])["records"], 0);
    brindle(&["export", "--since", "soon", arg(&data)]).with(2);
    brindle(&["export", "--rotate-records", "5", arg(&data)]).with(2);
}

/// Two dumps that overlap, one of them cut off: the newest version wins, in either order.
#[test]
fn the_newest_version_wins_and_a_torn_line_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(
        at("old"),
        "{\"key\":\"a\",\"value\":1,\"version\":5}\n{\"key\":\"b\",\"value\":1}\n",
    )
    .unwrap();
    let torn = "{\"key\":\"a\",\"value\":2,\"version\":6}\n{\"key\":\"c\",\"value\":\"cut o";
    fs::write(at("new"), torn).unwrap();
    for order in [["old", "new"], ["new", "old"]] {
        let shadow = at(&order.concat());
        let [first, second] = order.map(at);
        let args = ["import", "--json", "--data-size", "64MiB", "--shadow-dir", arg(&shadow)];
        let ran = brindle(&[&args[..], &[arg(&first), arg(&second)]].concat()).with(0);
        let counts = ran.json();
        assert_eq!((&counts["torn"], &counts["skipped"]), (&json!(1), &json!(0)));
        assert!(ran.err.contains("line 2 of ") && ran.err.contains("is torn"), "{}", ran.err);
        let lines = exported(&shadow);
        assert_eq!((&lines["a"]["value"], lines.contains_key("c")), (&json!(2), false));
    }
    // From standard input, too; and a last line that is only without a line feed is none.
    let args = ["import", "--json", "--data-size", "64MiB", "--shadow-dir", arg(&at("in")), "-"]
        .map(str::to_owned);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let counts = brindle_with(&args, torn.as_bytes()).with(0).json();
    assert_eq!((&counts["put"], &counts["torn"]), (&json!(1), &json!(1)));
    let whole = b"{\"key\":\"c\",\"value\":1}";
    assert_eq!(brindle_with(&args, whole).with(0).json()["torn"], 0);
}
