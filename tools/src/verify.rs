//! `verify`: lists what [`findings`](crate::findings) finds, and mends superblock copies if asked.

use crate::args::VerifyArgs;
use crate::error::{Failure, Outcome};
use crate::findings::{Checked, Counts, Finding, check};
use crate::output::write_document;
use crate::progress::Progress;
use crate::repair::repair;
use crate::shadow::Shadow;
use crate::text::shown;
use schemars::JsonSchema;
use serde::Serialize;
use std::io::Write;

/// Findings that a JSON document lists; all are counted.
const LISTED_MAX: usize = 10_000;

/// `brindle-verify/1`: what is damaged.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Report {
    /// No damage was found.
    clean: bool,
    /// Findings that are damage.
    damaged: u64,
    /// Copies of superblocks that were written anew, if that was asked for.
    repaired: Vec<String>,
    counts: Counts,
    /// At most 10,000 of them.
    findings: Vec<Finding>,
    findings_left_out: u64,
}

/// `brindle verify`.
pub(crate) fn run(
    args: &VerifyArgs,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let mut shadow = Shadow::open(&args.paths)?;
    let repaired = if args.repair_superblock { repair_all(&shadow)? } else { Vec::new() };
    if !repaired.is_empty() {
        shadow = Shadow::open(&args.paths)?;
    }
    if !is_json {
        for what in &repaired {
            writeln!(out, "mended {}", shown(what)).map_err(Failure::Output)?;
        }
    }
    let progress = Progress::new("verifying", Some(shadow.wblock_bytes_total()));
    let (mut findings, mut findings_left_out) = (Vec::new(), 0);
    let checked = check(&shadow, &progress, |finding| {
        if !is_json {
            let mut written = Ok(());
            progress.suspend(|| written = writeln!(out, "{finding}"));
            return written.map_err(Failure::Output);
        }
        if findings.len() < LISTED_MAX {
            findings.push(finding);
        } else {
            findings_left_out += 1;
        }
        Ok(())
    })?;
    drop(progress);
    let Checked { counts, damaged } = checked;
    let clean = damaged == 0;
    if is_json {
        let report = Report { clean, damaged, repaired, counts, findings, findings_left_out };
        write_document(out, "brindle-verify/1", &report)?;
    } else {
        let verdict = if clean { "clean".to_owned() } else { format!("{damaged} damaged") };
        writeln!(out, "{verdict}: {}", counts.summary()).map_err(Failure::Output)?;
    }
    Ok(if clean { Outcome::Good } else { Outcome::Bad })
}

/// Mends what can be mended: in words, what that was.
fn repair_all(shadow: &Shadow) -> Result<Vec<String>, Failure> {
    let mut repaired = Vec::new();
    for member in &shadow.members {
        if let Some(copy) = repair(member)? {
            let path = member.path.display();
            repaired.push(format!("{path}: superblock copy {copy}, from the one that counts"));
        }
    }
    Ok(repaired)
}
