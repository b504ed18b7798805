//! A source file as the rules see it: line by line, with code, comments and tests told apart.

use std::path::Path;

/// Findings of one rule in one file, each `path:line: what, and what to write instead`.
pub type Rule = fn(&File) -> Vec<String>;

/// One file. The path is relative to the workspace, with `/` on every system.
#[derive(Debug)]
pub struct File {
    pub path: String,
    pub lines: Vec<Line>,
}

/// One line, taken apart.
#[derive(Debug)]
pub struct Line {
    /// As it stands in the file.
    pub raw: String,
    /// Without comments; strings and characters are emptied, their quotes stay.
    pub code: String,
    /// The comment with its slashes; empty if there is none.
    pub comment: String,
    /// In an item under `#[cfg(test)]`, or in a file that holds only tests.
    pub is_test: bool,
    /// Part of a `use` item.
    pub is_import: bool,
}

impl File {
    /// Takes `text` apart. What is not Rust is all code, for the rules that look at raw lines.
    pub fn parse(path: &str, text: &str) -> Self {
        let mut lexer = Lexer::default();
        let mut items = Items { is_test_file: is_test_file(path), ..Items::default() };
        let mut lines = Vec::new();
        for raw in text.lines() {
            let (code, comment) = lexer.split(raw);
            let (is_test, is_import) = items.step(&code);
            lines.push(Line { raw: raw.into(), code, comment, is_test, is_import });
        }
        Self { path: path.into(), lines }
    }

    /// Is this Rust below the folder `folder`?
    pub fn is_rust_in(&self, folder: &str) -> bool {
        self.is_rust() && self.path.starts_with(folder)
    }

    pub fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|ending| ending == "rs")
    }

    /// The lines with their numbers, from 1.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, &Line)> {
        (1..).zip(&self.lines)
    }

    /// A finding on each line for which `what` has something to say.
    pub fn findings<S: Into<String>>(&self, what: impl Fn(&Line) -> Option<S>) -> Vec<String> {
        let findings = self.numbered().filter_map(|(number, line)| Some((number, what(line)?)));
        findings.map(|(number, what)| self.finding(number, &what.into())).collect()
    }

    pub fn finding(&self, number: usize, what: &str) -> String {
        format!("{}:{number}: {what}", self.path)
    }
}

impl Line {
    pub fn is_only_comment(&self) -> bool {
        self.code.trim().is_empty() && !self.comment.is_empty()
    }
}

/// Tests, models and benches may do what the engine may not.
fn is_test_file(path: &str) -> bool {
    let folders = ["tests/", "loom-tests/", "benches/"];
    folders.iter().any(|folder| path.starts_with(folder))
        || path.contains("/tests/")
        || path.ends_with("/tests.rs")
}

/// What the lexer is inside of, across the ends of lines.
#[derive(Debug, Default)]
enum Lexer {
    #[default]
    Code,
    /// A block comment this deep.
    Comment(u32),
    /// A string, ended by a quote and this many `#`; without a number, it has escapes.
    Text(Option<usize>),
}

impl Lexer {
    /// The code and the comment of a line.
    fn split(&mut self, line: &str) -> (String, String) {
        let (mut code, mut comment) = (String::new(), String::new());
        let mut rest = line;
        while !rest.is_empty() {
            rest = match *self {
                Self::Code => self.step_in_code(rest, &mut code, &mut comment),
                Self::Comment(depth) => self.step_in_comment(depth, rest, &mut comment),
                Self::Text(hashes) => self.step_in_text(hashes, rest, &mut code),
            };
        }
        (code, comment)
    }

    /// Takes one step, and returns what is left of the line; so do the other two.
    fn step_in_code<'l>(
        &mut self,
        rest: &'l str,
        code: &mut String,
        comment: &mut String,
    ) -> &'l str {
        if rest.starts_with("//") {
            comment.push_str(rest);
            return "";
        }
        if let Some(rest) = rest.strip_prefix("/*") {
            *self = Self::Comment(1);
            comment.push_str("/*");
            return rest;
        }
        if let Some(rest) = rest.strip_prefix('"') {
            *self = Self::Text(raw_string_hashes(code));
            code.push('"');
            return rest;
        }
        if let Some(rest) = after_character(rest) {
            code.push_str("''");
            return rest;
        }
        let (first, rest) = split_first(rest);
        code.extend(first);
        rest
    }

    fn step_in_comment<'l>(&mut self, depth: u32, rest: &'l str, comment: &mut String) -> &'l str {
        if let Some(rest) = rest.strip_prefix("*/") {
            *self = if depth == 1 { Self::Code } else { Self::Comment(depth - 1) };
            return rest;
        }
        if let Some(rest) = rest.strip_prefix("/*") {
            *self = Self::Comment(depth + 1);
            return rest;
        }
        let (first, rest) = split_first(rest);
        comment.extend(first);
        rest
    }

    fn step_in_text<'l>(
        &mut self,
        hashes: Option<usize>,
        rest: &'l str,
        code: &mut String,
    ) -> &'l str {
        let end = "#".repeat(hashes.unwrap_or(0));
        if let Some(rest) = rest.strip_prefix('"').and_then(|rest| rest.strip_prefix(&*end)) {
            *self = Self::Code;
            code.push('"');
            return rest;
        }
        let (first, rest) = split_first(rest);
        if first == Some('\\') && hashes.is_none() { split_first(rest).1 } else { rest }
    }
}

/// How many `#` end the string that opens behind `code`, or nothing if it is not a raw one.
fn raw_string_hashes(code: &str) -> Option<usize> {
    let before = code.trim_end_matches('#');
    let prefix = before.rsplit(|c| !is_word_character(c)).next();
    matches!(prefix, Some("r" | "br" | "cr")).then(|| code.len() - before.len())
}

/// What follows the character literal that `rest` starts with; a lifetime is none.
fn after_character(rest: &str) -> Option<&str> {
    let (first, after) = split_first(rest.strip_prefix('\'')?);
    if first? != '\\' {
        return after.strip_prefix('\'');
    }
    let (_escaped, after) = split_first(after); // a quote, perhaps
    after.split_once('\'').map(|(_more, after)| after)
}

fn split_first(text: &str) -> (Option<char>, &str) {
    let mut characters = text.chars();
    (characters.next(), characters.as_str())
}

/// Which items the lines belong to, as far as rustfmt's layout tells.
#[derive(Debug, Default)]
struct Items {
    is_test_file: bool,
    /// Indent of the `#[cfg(test)]` whose item has not ended.
    test_indent: Option<usize>,
    is_import: bool,
}

impl Items {
    /// Is the next line, `code`, part of a test, and is it part of an import?
    fn step(&mut self, code: &str) -> (bool, bool) {
        let item = code.trim();
        let indent = code.len() - code.trim_start().len();
        if item.starts_with("#[cfg(test)]") || item.starts_with("#[cfg(all(test,") {
            self.test_indent.get_or_insert(indent);
        }
        let is_test = self.is_test_file || self.test_indent.is_some();
        let ends_item = item.ends_with(['}', ';']);
        if ends_item && self.test_indent.is_some_and(|start| indent <= start) {
            self.test_indent = None;
        }
        self.is_import |= without_visibility(item).starts_with("use ");
        let is_import = self.is_import;
        self.is_import &= !item.ends_with(';');
        (is_test, is_import)
    }
}

/// `item` without `pub` or `pub(…)`.
pub fn without_visibility(item: &str) -> &str {
    let Some(rest) = item.strip_prefix("pub") else { return item };
    let in_parentheses = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    in_parentheses.map_or(rest, |(_where, rest)| rest).trim_start()
}

/// Is `c` part of an identifier?
pub fn is_word_character(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The identifiers, keywords and numbers of `code`.
pub fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c| !is_word_character(c)).filter(|word| !word.is_empty())
}

/// What follows each `path` (`"crate::"`) in `code` that does not itself follow a longer word.
pub fn after_path<'c>(code: &'c str, path: &'c str) -> impl Iterator<Item = &'c str> {
    code.match_indices(path).filter_map(move |(at, _)| {
        let (before, here) = code.split_at_checked(at)?;
        let is_whole = !before.ends_with(|c| is_word_character(c) || c == ':');
        is_whole.then(|| here.strip_prefix(path)).flatten()
    })
}

/// Does `rule` find something in `text`, standing at `path`?
pub fn bites(rule: Rule, path: &str, text: &str) -> bool {
    !rule(&File::parse(path, text)).is_empty()
}

#[test]
fn code_is_told_from_comments_and_strings() {
    let split = |text: &str| -> Vec<(String, String)> {
        let file = File::parse("src/a.rs", text);
        file.lines.into_iter().map(|line| (line.code, line.comment)).collect()
    };
    let one = |text: &str| split(text).remove(0);
    let pair = |code: &str, comment: &str| (code.to_string(), comment.to_string());

    assert_eq!(one("a(); // b"), pair("a(); ", "// b"));
    assert_eq!(one("a(\"// no\"); // yes"), pair("a(\"\"); ", "// yes"));
    assert_eq!(one(r#"a("\"//", '"', '\'', b'\\', 'x');"#), pair("a(\"\", '', '', b'', '');", ""));
    assert_eq!(one("fn a<'a>(b: &'a str) {}"), pair("fn a<'a>(b: &'a str) {}", ""));
    assert_eq!(one(r##"a(r#"b" \"#, c)"##), pair("a(r#\"\", c)", ""));
    assert_eq!(split("a /* b\n/* c */ d\ne */ f").remove(2), pair(" f", "e "));
    assert_eq!(split("a(\"b\n// c\", d)").remove(1), pair("\", d)", ""));
}

#[test]
fn tests_and_imports_are_told_from_code() {
    let text =
        "use a::{\n    b,\n};\nfn c() {}\n#[cfg(test)]\nmod tests {\n    fn d() {}\n}\nfn e() {}";
    let file = File::parse("src/a.rs", text);
    let imports: Vec<bool> = file.lines.iter().map(|line| line.is_import).collect();
    let tests: Vec<bool> = file.lines.iter().map(|line| line.is_test).collect();
    assert_eq!(imports, [true, true, true, false, false, false, false, false, false]);
    assert_eq!(tests, [false, false, false, false, true, true, true, true, false]);
    assert!(File::parse("tests/a.rs", "fn f() {}").lines.iter().all(|line| line.is_test));
}

#[test]
fn visibility_is_no_part_of_an_item() {
    assert_eq!(without_visibility("pub(crate) use a;"), "use a;");
    assert_eq!(without_visibility("pub use a;"), "use a;");
    assert_eq!(without_visibility("use a;"), "use a;");
}
