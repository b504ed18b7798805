//! What comes of a run: tables, a document of JSON, plots.

mod document;
mod plots;
mod table;

pub use document::{Document, GrowthRow, MemoryRow};
pub use table::{
    durable, field, growth, heading, latency, memory, reopen, sustained, throughput_head,
    throughput_line,
};
