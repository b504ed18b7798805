//! `report`: all there is to see, in one page for a browser.

use crate::args::{Paint, ReportArgs};
use crate::error::{Failure, Outcome};
use crate::findings::{Checker, Finding};
use crate::info::Info;
use crate::output::{warn_of_oddities, write_document};
use crate::page::render;
use crate::picture::Picture;
use crate::progress::Progress;
use crate::shadow::{Oddity, Shadow};
use crate::stats::Stats;
use crate::survey::Survey;
use crate::text::Size;
use schemars::JsonSchema;
use serde::Serialize;
use std::fs;
use std::io::Write;
use std::path::Path;

/// Findings that the page lists; all are counted.
const LISTED_MAX: usize = 1_000;
/// Keys at the head of a list.
const TOP: usize = 10;

/// `brindle-report/1`: what was written.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Reported {
    html: String,
    bytes: u64,
    /// Findings that are damage.
    damaged: u64,
}

/// What the page shows.
#[derive(Debug)]
pub(crate) struct Report {
    /// What was named.
    pub(crate) title: String,
    pub(crate) info: Info,
    pub(crate) stats: Stats,
    pub(crate) pictures: [Picture; 2],
    pub(crate) findings: Vec<Finding>,
    pub(crate) findings_left_out: u64,
    pub(crate) damaged: u64,
    pub(crate) now_us: u64,
}

/// `brindle report`.
pub(crate) fn run(
    args: &ReportArgs,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let mut shadow = Shadow::open(&args.paths)?;
    warn_of_oddities(&shadow);
    let named = shadow.members.len();
    shadow.keep_first_store();
    let shadow = shadow.require_member(&args.paths)?;
    let report = Report::of(&shadow, &args.paths.path, named)?;
    let html = render(&report);
    let damaged = report.damaged;
    let outcome = if damaged == 0 { Outcome::Good } else { Outcome::Bad };
    if args.html.as_os_str() == "-" {
        out.write_all(html.as_bytes()).map_err(Failure::Output)?;
        return Ok(outcome);
    }
    let failed = |source| Failure::File { op: "write", path: args.html.clone(), source };
    fs::write(&args.html, &html).map_err(failed)?;
    let bytes = html.len() as u64;
    let path = args.html.display().to_string();
    if is_json {
        write_document(out, "brindle-report/1", Reported { html: path, bytes, damaged })?;
    } else {
        let (path, size) = (crate::text::shown(&path), Size(bytes));
        writeln!(out, "{path}: {size}; {damaged} damaged").map_err(Failure::Output)?;
    }
    Ok(outcome)
}

impl Report {
    fn of(shadow: &Shadow, path: &Path, named: usize) -> Result<Self, Failure> {
        let progress = Progress::new("reading", Some(shadow.wblock_bytes_total()));
        let (mut findings, mut findings_left_out) = (Vec::new(), 0);
        let mut checker = Checker::begin(shadow, |finding| {
            if findings.len() < LISTED_MAX {
                findings.push(finding);
            } else {
                findings_left_out += 1;
            }
            Ok(())
        })?;
        let survey = Survey::deep_with(shadow, &progress, |member, place, wblock| {
            checker.check_wblock(member, place, wblock)
        })?;
        drop(progress);
        let damaged = checker.end(shadow)?.damaged;
        let said = |oddity: &Oddity| format!("{} {}", oddity.path.display(), oddity.what);
        let oddities = shadow.oddities.iter().map(said).collect();
        Ok(Self {
            title: path.display().to_string(),
            info: Info::of(shadow, &survey, oddities, named),
            stats: Stats::of(shadow, TOP)?,
            pictures: [Paint::Live, Paint::Age].map(|paint| Picture::new(shadow, &survey, paint)),
            findings,
            findings_left_out,
            damaged,
            now_us: survey.now_us,
        })
    }
}
