//! What comes of a run: tables, a document of JSON.

mod document;
mod table;

pub use document::Document;
pub use table::{heading, throughput_head, throughput_line};
