//! `schema`: what the JSON of each command looks like, as JSON Schema made from the types that are
//! written. The number behind the slash goes up when a member goes or changes its meaning; members
//! that are new do not raise it.

use crate::args::SchemaArgs;
use crate::bench::Report as BenchReport;
use crate::diff::Diff;
use crate::error::{Failure, Outcome};
use crate::export::Exported;
use crate::history::History;
use crate::import::Imported;
use crate::info::Info;
use crate::line::RecordLine;
use crate::list::KeyLine;
use crate::map::MapReport;
use crate::output::{Document, write_document};
use crate::report::Reported;
use crate::salvage::Salvaged;
use crate::show_record::RecordReport;
use crate::show_wblock::WblockReport;
use crate::stats::Stats;
use crate::top::TopReport;
use crate::verify::Report as VerifyReport;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use std::io::Write;

/// What `schema` itself writes if it is given no name.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SchemaList {
    /// Names of all schemas.
    schemas: Vec<&'static str>,
}

type Make = fn(&'static str) -> Schema;

/// Every schema by its name. Lines of data carry no name in themselves.
const SCHEMAS: [(&str, Make); 19] = [
    ("brindle-bench/1", document::<BenchReport>),
    ("brindle-diff/1", document::<Diff>),
    ("brindle-export/1", document::<Exported>),
    ("brindle-export-line/1", line::<RecordLine<'static>>),
    ("brindle-get/1", document::<RecordLine<'static>>),
    ("brindle-history/1", document::<History>),
    ("brindle-import/1", document::<Imported>),
    ("brindle-info/1", document::<Info>),
    ("brindle-ls-line/1", line::<KeyLine<'static>>),
    ("brindle-man/1", document::<crate::shell::Manuals>),
    ("brindle-map/1", document::<MapReport>),
    ("brindle-record/1", document::<RecordReport>),
    ("brindle-report/1", document::<Reported>),
    ("brindle-salvage/1", document::<Salvaged>),
    ("brindle-schema/1", document::<SchemaList>),
    ("brindle-stats/1", document::<Stats>),
    ("brindle-top/1", document::<TopReport>),
    ("brindle-verify/1", document::<VerifyReport>),
    ("brindle-wblock/1", document::<WblockReport>),
];

/// `brindle schema`.
pub(crate) fn run(
    args: &SchemaArgs,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let names = SCHEMAS.map(|(name, _)| name);
    let Some(wanted) = &args.name else {
        if is_json {
            write_document(out, "brindle-schema/1", SchemaList { schemas: names.to_vec() })?;
        } else {
            writeln!(out, "{}", names.join("\n")).map_err(Failure::Output)?;
        }
        return Ok(Outcome::Good);
    };
    let found = SCHEMAS.iter().find(|(name, _)| {
        let plain = name.strip_prefix("brindle-").unwrap_or(name);
        wanted == name || wanted == plain || Some(wanted.as_str()) == plain.strip_suffix("/1")
    });
    let Some((name, make)) = found else {
        return Err(Failure::Usage(format!(
            "there is no schema of that name; there are {}",
            names.join(", ")
        )));
    };
    let failed = |error: serde_json::Error| Failure::Output(error.into());
    serde_json::to_writer_pretty(&mut *out, &make(name)).map_err(failed)?;
    writeln!(out).map_err(Failure::Output)?;
    Ok(Outcome::Good)
}

/// A document that names its schema.
fn document<T: JsonSchema>(name: &'static str) -> Schema {
    let mut schema = line::<Document<T>>(name);
    if let Some(about) = line::<T>(name).get("description") {
        schema.insert("description".to_owned(), about.clone());
    }
    let member = schema.pointer_mut("/properties/schema").and_then(|value| value.as_object_mut());
    if let Some(member) = member {
        member.insert("const".to_owned(), name.into());
    }
    schema
}

/// A line of data.
fn line<T: JsonSchema>(name: &'static str) -> Schema {
    let mut schema = SchemaGenerator::default().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), name.into());
    schema
}
