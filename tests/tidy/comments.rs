//! Comments that must stand: why unsafe code is sound, what an ordering is for, what a file is.

use crate::text::{File, Line, Rule, words};

pub const RULES: &[Rule] = &[safety, ordering, header];

/// Lines of code between an `ORDERING:` comment and the ordering, at most: in a
/// `compare_exchange` that rustfmt broke, the second ordering stands this far down.
const ORDERING_REACH: usize = 4;

/// Longer files start with a header.
const LINES_WITHOUT_HEADER_MAX: usize = 100;

/// An unsafe block or impl has its proof directly above the statement.
fn safety(file: &File) -> Vec<String> {
    if !file.is_rust_in("src/") {
        return Vec::new();
    }
    let what = "unsafe without a proof: write a comment `SAFETY: …` directly above the statement";
    let broken = file.numbered().filter(|(number, line)| {
        let above = file.lines.get(..number - 1).unwrap_or_default();
        needs_proof(&line.code) && !line.comment.contains("SAFETY:") && !has_proof(above)
    });
    broken.map(|(number, _)| file.finding(number, what)).collect()
}

fn needs_proof(code: &str) -> bool {
    let words: Vec<&str> = code.split_whitespace().collect();
    words.windows(2).any(|pair| matches!(pair, [word, "impl"] if *word == "unsafe"))
        || code.replace(' ', "").split("unsafe{").count() > 1
}

/// Does the comment above the statement that goes on behind `above` hold a proof?
fn has_proof(above: &[Line]) -> bool {
    let mut above = above.iter().rev().skip_while(|line| continues(line)).peekable();
    let mut comment = std::iter::from_fn(|| above.next_if(|line| line.is_only_comment()));
    comment.any(|line| line.comment.contains("SAFETY:"))
}

/// Is `line` an attribute, or the start of a statement that goes on below?
fn continues(line: &Line) -> bool {
    let code = line.code.trim();
    code.starts_with("#[") || !code.is_empty() && !code.ends_with([';', '{', '}', ','])
}

#[test]
fn unsafe_code_has_its_proof_above() {
    let breaks = |text| crate::text::bites(safety, "src/region/a.rs", text);

    assert!(breaks("let a = unsafe { b() };"));
    assert!(breaks("unsafe impl Send for A {}"));
    assert!(breaks("// SAFETY: c.\nlet a = b();\nlet a = unsafe { b() };"), "another's");
    assert!(breaks("// SAFETY: c.\n\nlet a = unsafe { b() };"), "not directly above");
    assert!(breaks("// Fine.\nlet a = unsafe { b() };"), "not marked");

    assert!(!breaks("// SAFETY: c.\nlet a = unsafe { b() };"));
    assert!(!breaks("// SAFETY:\n// - c\n// - d\nlet a =\n    unsafe { b() };"), "a longer proof");
    assert!(!breaks("// SAFETY: c.\n#[cfg(not(loom))]\nunsafe impl Send for A {}"), "an attribute");
    assert!(!breaks("pub unsafe fn a() {}\n#[unsafe(no_mangle)]"), "demands, and no use");
    assert!(!breaks("// We write no unsafe { } here.\nlet a = \"unsafe { }\";"), "prose");
}

/// An ordering says which edge it belongs to, or why it needs none.
fn ordering(file: &File) -> Vec<String> {
    if !file.is_rust_in("src/") {
        return Vec::new();
    }
    let what = format!(
        "an ordering without a reason: write `// ORDERING: <order>[, edge En]. <why>` at most \
         {ORDERING_REACH} lines above"
    );
    let broken = file.numbered().filter(|(number, line)| {
        let above = file.lines.get(..number - 1).unwrap_or_default();
        let is_call = names_order(&line.code) && !line.is_import && !line.is_test;
        is_call && !line.comment.contains("ORDERING:") && !has_reason(above)
    });
    broken.map(|(number, _)| file.finding(number, &what)).collect()
}

fn names_order(code: &str) -> bool {
    words(code).any(|word| matches!(word, "Relaxed" | "Acquire" | "Release" | "AcqRel"))
}

/// Is there a reason in reach? The lines of the comment itself do not count.
fn has_reason(above: &[Line]) -> bool {
    let mut passed = 0;
    let mut in_reach = above.iter().rev().take_while(|line| {
        passed += usize::from(!line.is_only_comment());
        passed <= ORDERING_REACH || line.is_only_comment()
    });
    in_reach.any(|line| line.comment.contains("ORDERING:"))
}

#[test]
fn an_ordering_says_why() {
    let breaks = |path, text: &str| crate::text::bites(ordering, path, text);
    let path = "src/region/a.rs";
    let reason = "// ORDERING: Release, edge E1. The sealer\n// sees it.\n";
    let broken_up = "a.compare_exchange(\n    b,\n    c,\n    AcqRel,\n    Acquire,\n);";
    let too_far = format!("{reason}{}a.load(Acquire);", "b();\n".repeat(ORDERING_REACH + 1));

    assert!(breaks(path, "a.store(1, Release);"));
    assert!(breaks(path, "// Release.\na.store(1, Ordering::Release);"), "not marked");
    assert!(breaks(path, broken_up));
    assert!(breaks(path, &too_far));

    assert!(!breaks(path, &format!("{reason}a.store(1, Release);")));
    assert!(!breaks(path, "a.load(Relaxed); // ORDERING: Relaxed. A hint."));
    assert!(!breaks(path, &format!("{reason}{broken_up}")), "a call of several lines");
    assert!(!breaks(path, "use crate::sync::{\n    Acquire,\n    Release,\n};"), "an import");
    assert!(
        !breaks(path, "#[cfg(test)]\nmod tests {\n    fn a() { b.load(Relaxed) }\n}"),
        "a test"
    );
    assert!(!breaks("loom-tests/tests/a.rs", "a.store(1, Release);"));
}

/// A file that does not fit on a page or two says first what it is.
fn header(file: &File) -> Vec<String> {
    let is_long = file.lines.len() > LINES_WITHOUT_HEADER_MAX;
    let has_header = file.lines.first().is_some_and(|line| line.raw.starts_with("//!"));
    let what = format!(
        "over {LINES_WITHOUT_HEADER_MAX} lines and no header: start with `//!`, what the file is \
         for, its states and invariants"
    );
    if file.is_rust() && is_long && !has_header { vec![file.finding(1, &what)] } else { Vec::new() }
}

#[test]
fn a_long_file_has_a_header() {
    let breaks = |path, text: &str| crate::text::bites(header, path, text);
    let long = "fn a() {}\n".repeat(LINES_WITHOUT_HEADER_MAX + 1);

    assert!(breaks("src/store/get.rs", &long));
    assert!(breaks("tests/model.rs", &long));

    assert!(!breaks("src/store/get.rs", &format!("//! Reads.\n{long}")));
    assert!(!breaks("src/store/get.rs", "fn a() {}\n"));
    assert!(!breaks("CHANGELOG.md", &long));
}
