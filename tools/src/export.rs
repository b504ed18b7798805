//! `export`: every live record as a line of JSON, to standard output or to files that are begun
//! anew before they grow too large.

use crate::args::ExportArgs;
use crate::error::{Failure, Outcome};
use crate::line::RecordLine;
use crate::live::{Wish, for_each_live};
use crate::output::{write_document, write_line};
use crate::shadow::Shadow;
use crate::text::{Size, shown};
use crate::winners::Note;
use schemars::JsonSchema;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// What a file is called until it is whole.
const UNFINISHED: &str = "export-unfinished.tmp";

/// `brindle-export/1`: what was written to files.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Exported {
    records: u64,
    bytes: u64,
    files: Vec<ExportedFile>,
}

/// One file.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
struct ExportedFile {
    path: String,
    records: u64,
    bytes: u64,
}

/// `brindle export`.
pub(crate) fn run(
    args: &ExportArgs,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let shadow = Shadow::open_store(&args.paths)?;
    let since = args.since.map_or(0, |since| since.0);
    let shows_data = args.to.is_none() && io::stdout().is_terminal();
    let wish = Wish { prefix: &args.prefix.0, note: Note::Copies, shows_data };
    let Some(dir) = &args.to else {
        for_each_live(&shadow, wish, |view, _| {
            if u64::from(view.version()) >= since {
                write_line(out, &RecordLine::of(view))?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        return Ok(Outcome::Good);
    };
    let mut rotor = Rotor::new(dir, args)?;
    let mut line = Vec::new();
    for_each_live(&shadow, wish, |view, _| {
        if u64::from(view.version()) >= since {
            line.clear();
            write_line(&mut line, &RecordLine::of(view))?;
            rotor.write(&line)?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let exported = rotor.finish()?;
    if is_json {
        write_document(out, "brindle-export/1", &exported)?;
    } else {
        write_exported(out, &exported).map_err(Failure::Output)?;
    }
    Ok(Outcome::Good)
}

/// Writes lines to one file after the other.
struct Rotor<'a> {
    dir: &'a Path,
    bytes_max: u64,
    records_max: u64,
    open: Option<(BufWriter<File>, ExportedFile)>,
    exported: Exported,
}

impl<'a> Rotor<'a> {
    fn new(dir: &'a Path, args: &ExportArgs) -> Result<Self, Failure> {
        let failed = |source| Failure::File { op: "create", path: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        let rotor = Self {
            dir,
            bytes_max: args.rotate_bytes.map_or(u64::MAX, |size| size.0),
            records_max: args.rotate_records.unwrap_or(u64::MAX),
            open: None,
            exported: Exported::default(),
        };
        let first = rotor.path(1);
        if first.exists() {
            let first = first.display();
            return Err(Failure::Usage(format!("{first} is there: name another directory")));
        }
        Ok(rotor)
    }

    fn path(&self, number: usize) -> PathBuf {
        self.dir.join(format!("export-{number:06}.ndjson"))
    }

    fn write(&mut self, line: &[u8]) -> Result<(), Failure> {
        let bytes = line.len() as u64;
        let is_full = self.open.as_ref().is_some_and(|(_, file)| {
            file.bytes + bytes > self.bytes_max || file.records >= self.records_max
        });
        if is_full {
            self.close()?;
        }
        let unfinished = self.dir.join(UNFINISHED);
        let failed = |op| move |source| Failure::File { op, path: unfinished.clone(), source };
        let (file, about) = match &mut self.open {
            Some(open) => open,
            none => {
                let file = File::create(self.dir.join(UNFINISHED)).map_err(failed("create"))?;
                none.insert((BufWriter::new(file), ExportedFile::default()))
            }
        };
        let path = self.dir.join(UNFINISHED);
        file.write_all(line).map_err(|source| Failure::File { op: "write", path, source })?;
        about.bytes += bytes;
        about.records += 1;
        Ok(())
    }

    /// Makes the open file durable, and names it.
    fn close(&mut self) -> Result<(), Failure> {
        let Some((file, mut about)) = self.open.take() else { return Ok(()) };
        let path = self.path(self.exported.files.len() + 1);
        let done = file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(self.dir.join(UNFINISHED), &path));
        let failed = |op| {
            let path = path.clone();
            move |source| Failure::File { op, path, source }
        };
        done.map_err(failed("finish"))?;
        about.path = path.display().to_string();
        self.exported.records += about.records;
        self.exported.bytes += about.bytes;
        self.exported.files.push(about);
        Ok(())
    }

    fn finish(mut self) -> Result<Exported, Failure> {
        self.close()?;
        let failed = |source| Failure::File { op: "sync", path: self.dir.to_owned(), source };
        File::open(self.dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        Ok(self.exported)
    }
}

fn write_exported(out: &mut dyn Write, exported: &Exported) -> io::Result<()> {
    for ExportedFile { path, records, bytes } in &exported.files {
        writeln!(out, "{}: {records} records, {}", shown(path), Size(*bytes))?;
    }
    let Exported { records, bytes, files } = exported;
    writeln!(out, "{records} records, {} in {} files", Size(*bytes), files.len())
}
