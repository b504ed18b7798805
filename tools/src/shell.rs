//! `completions` and `man`: what a shell and `man` want to know, from the arguments themselves.

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::error::{Failure, Outcome};
use crate::output::write_document;
use clap::CommandFactory;
use schemars::JsonSchema;
use serde::Serialize;
use std::fs;
use std::io::Write;

/// `brindle-man/1`: the pages that were written.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Manuals {
    /// Paths of the pages.
    pages: Vec<String>,
}

/// `brindle completions`.
pub(crate) fn completions(args: &CompletionsArgs, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "brindle", &mut script);
    out.write_all(&script).map_err(Failure::Output)?;
    Ok(Outcome::Good)
}

/// `brindle man`.
pub(crate) fn man(args: &ManArgs, is_json: bool, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let failed = |op| move |source| Failure::File { op, path: args.dir.clone(), source };
    fs::create_dir_all(&args.dir).map_err(failed("create"))?;
    let mut command = Cli::command();
    command.build();
    let mut pages = Vec::new();
    let names = command.get_subcommands().filter(|one| one.get_name() != "help");
    let all: Vec<clap::Command> = std::iter::once(command.clone()).chain(names.cloned()).collect();
    for one in all {
        let name = one.get_display_name().unwrap_or_else(|| one.get_name()).to_owned();
        let path = args.dir.join(format!("{name}.1"));
        let mut page = Vec::new();
        clap_mangen::Man::new(one).render(&mut page).map_err(failed("render pages for"))?;
        fs::write(&path, page).map_err(failed("write to"))?;
        pages.push(path.display().to_string());
    }
    if is_json {
        write_document(out, "brindle-man/1", Manuals { pages })?;
    } else {
        for page in pages {
            writeln!(out, "{}", crate::text::shown(&page)).map_err(Failure::Output)?;
        }
    }
    Ok(Outcome::Good)
}
