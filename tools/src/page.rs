//! The page of `report`: plain HTML and CSS, no script, nothing loaded. `maud` escapes what it is
//! given; what a terminal would take for an order is escaped, too, as everywhere.

use crate::findings::Finding;
use crate::info::{Info, MemberInfo};
use crate::info_text::space_parts;
use crate::line::KeyText;
use crate::picture::{Mark, Picture};
use crate::report::Report;
use crate::spread::Spread;
use crate::stats::{Leader, Stats};
use crate::svg;
use crate::text::{Age, Instant, Size, shown, shown_key};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Files whose superblocks are shown.
const MEMBERS_MAX: usize = 32;
/// Bytes of a key that are shown.
const KEY_MAX: usize = 120;

/// The whole page.
pub(crate) fn render(report: &Report) -> String {
    let Report { info, stats, pictures, .. } = report;
    let title = shown(&report.title);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "brindle: " (title) }
                style { (PreEscaped(include_str!("page.css"))) (PreEscaped(svg::STYLE)) }
            }
            body {
                main {
                    (head(report, &title))
                    (tiles(info))
                    (space(info))
                    h2 { "Map of wblocks" }
                    @for picture in pictures { (map(picture)) }
                    (distributions(info, stats))
                    (leaders(stats))
                    (damage(report))
                    h2 { "Superblocks" }
                    @for member in info.members.iter().take(MEMBERS_MAX) { (superblock(member)) }
                    footer {
                        "brindle " (env!("CARGO_PKG_VERSION")) ", as of " (Instant(report.now_us))
                        ". Keys are shown, values are not."
                    }
                }
            }
        }
    };
    page.into_string()
}

fn head(report: &Report, title: &str) -> Markup {
    let store = report.info.members.first().map_or("", |member| &member.store_id);
    let damaged = report.damaged;
    html! {
        h1 { (title) }
        p.soft { "store " code { (store) } }
        @if damaged == 0 {
            p.verdict.good { "✓ Clean: every checksum matches." }
        } @else {
            p.verdict.bad {
                "✗ " (damaged) " damaged: " a href="#damage" style="color:inherit" { "the list" }
            }
        }
        p.cold { "Cold start: " (report.info.cold_start.outcome) "." }
        @for oddity in &report.info.oddities { p.soft { (shown(oddity)) } }
    }
}

fn tile(name: &str, value: impl std::fmt::Display) -> Markup {
    html! { div.tile { b { (value.to_string()) } span { (name) } } }
}

fn tiles(info: &Info) -> Markup {
    let sum = |part: fn(&MemberInfo) -> u64| info.members.iter().map(part).sum::<u64>();
    let (used, total) = (sum(|one| one.wblocks.in_use), sum(|one| one.wblocks.total));
    let records = info.records.unwrap_or_default();
    let data_size = info.members.first().map_or(Size(0), |member| member.data_size_bytes);
    let seconds = info.cold_start.seconds;
    html! {
        div.tiles {
            (tile("live records", records.live))
            (tile("data size", data_size))
            (tile("wblocks in use", format_args!("{used} of {total}")))
            (tile("files", format_args!("{}", info.members.len())))
            (tile("tombstones", records.tombstones))
            (tile("replaced records", records.superseded))
            @if let Some(ages) = &info.ages {
                (tile("oldest wblock", Age(ages.now_us.saturating_sub(ages.oldest_us))))
            }
            @if let Some(seconds) = seconds {
                (tile("cold start here, at most", format_args!("{seconds:.2} s")))
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

fn space(info: &Info) -> Markup {
    let Some(space) = &info.space else { return html! {} };
    let parts = space_parts(space);
    let total: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    let taken = || parts.iter().enumerate().filter(|(_, (_, bytes))| *bytes > 0);
    html! {
        h2 { "Space" }
        div.card {
            div.stack role="img" aria-label="space by what takes it" {
                @for (n, (name, bytes)) in taken() {
                    i class=(format!("p{n}")) title=(name)
                        style=(format!("width:{:.3}%", percent(*bytes, total))) {}
                }
            }
            table {
                @for (n, (name, bytes)) in taken() {
                    tr {
                        td { span class=(format!("swatch p{n}")) {} " " (name) }
                        td.n { (Size(*bytes)) }
                        td.n { (format!("{:.1}%", percent(*bytes, total))) }
                    }
                }
            }
        }
    }
}

fn key_of(mark: Mark) -> Markup {
    let class = mark.class();
    html! {
        svg.key viewBox="0 0 14 14" aria-hidden="true" {
            rect class=(class) width="14" height="14" rx="2" {}
            @if mark == Mark::Bad { path class="x" d="M3 3L11 11M11 3L3 11" {} }
        }
    }
}

fn map(picture: &Picture) -> Markup {
    let cells = picture.panels.iter().map(|panel| panel.cells.len()).sum();
    html! {
        div.card style="margin-bottom:12px" {
            h3 style="margin-top:0" { (capital(picture.title())) }
            div.legend {
                @for (mark, meaning) in picture.legend() { span { (key_of(mark)) (meaning) } }
            }
            @if picture.group > 1 {
                p.soft { "A cell is " (picture.group) " wblocks." }
            }
            @for panel in &picture.panels {
                p.soft { "stripe " (panel.stripe) ", " (shown(&panel.path)) }
                (PreEscaped(svg::panel(panel, cells)))
            }
        }
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn bars(rows: impl Iterator<Item = (String, u64)> + Clone) -> Markup {
    let most = rows.clone().map(|(_, count)| count).max().unwrap_or(1);
    html! {
        div.bars {
            @for (label, count) in rows {
                span.x { (label) }
                div.track {
                    @if count > 0 {
                        div.fill style=(format!("width:{:.2}%", percent(count, most))) {}
                    }
                }
                span { (count) }
            }
        }
    }
}

fn spread(name: &str, spread: &Spread, unit: fn(u64) -> String) -> Markup {
    let Spread { min, p50, p90, p99, max, .. } = spread;
    let [min, p50, p90, p99, max] = [min, p50, p90, p99, max].map(|number| unit(*number));
    html! {
        div.card {
            h3 style="margin-top:0" { (name) }
            @if spread.count == 0 {
                p.soft { "none" }
            } @else {
                p.soft { "min " (min) ", p50 " (p50) ", p90 " (p90) ", p99 " (p99) ", max " (max) }
                (bars(spread.buckets.iter().map(|one| {
                    (format!("≤ {}", unit(one.up_to)), one.count)
                })))
            }
        }
    }
}

fn distributions(info: &Info, stats: &Stats) -> Markup {
    let bytes = |number| Size(number).to_string();
    let left = |ms: u64| Age(ms.saturating_mul(1_000)).to_string();
    html! {
        h2 { "Distributions" }
        p.soft { (stats.live_records) " live records, " (stats.without_expiry) " without expiry" }
        div.pair {
            (spread("Key size", &stats.key_bytes, bytes))
            (spread("Value size", &stats.value_bytes, bytes))
            (spread("Time left, of those that expire", &stats.time_left_ms, left))
            (spread("Copies of a key that are still there", &stats.copies, |n| n.to_string()))
            @if let Some(tenths) = &info.live_tenths {
                div.card {
                    h3 style="margin-top:0" { "Wblocks in use by their live share" }
                    (bars((0..).zip(tenths).map(|(n, count): (u32, _)| {
                        (format!("{}..{}%", n * 10, n * 10 + 10), *count)
                    })))
                }
            }
        }
    }
}

fn key(key: &KeyText<'_>) -> Markup {
    key_bytes(&key.bytes())
}

fn key_bytes(key: &[u8]) -> Markup {
    let first = key.get(..KEY_MAX).unwrap_or(key);
    html! { code { (shown_key(first)) } @if first.len() < key.len() { " …" } }
}

fn leader_table(name: &str, unit: &str, rows: &[Leader], show: fn(u64) -> String) -> Markup {
    html! {
        div.card {
            h3 style="margin-top:0" { (name) }
            @if rows.is_empty() { p.soft { "none" } }
            @else {
                table {
                    tr { th.n { (unit) } th { "key" } }
                    @for row in rows { tr { td.n { (show(row.count)) } td { (key(&row.key)) } } }
                }
            }
        }
    }
}

fn leaders(stats: &Stats) -> Markup {
    html! {
        h2 { "Leaders" }
        div.pair {
            (leader_table("Largest records", "key and value", &stats.largest, |bytes| {
                Size(bytes).to_string()
            }))
            (leader_table("Most rewritten keys", "copies", &stats.most_rewritten, |count| {
                count.to_string()
            }))
        }
    }
}

fn damage_row(finding: &Finding) -> Markup {
    html! {
        tr {
            td {
                @if finding.is_damage { span.mark { "✗ damage" } }
                @else { span.mark.note { "note" } }
            }
            td { (finding.place()) }
            td {
                (shown(&finding.what))
                @if let Some(key) = &finding.key { "; key " (key_bytes(key)) }
            }
        }
    }
}

fn damage(report: &Report) -> Markup {
    html! {
        h2 id="damage" { "Damage" }
        div.card {
            @if report.findings.is_empty() {
                p.soft { "Nothing was found." }
            } @else {
                div.scroll {
                    table {
                        tr { th { "" } th { "where" } th { "what" } }
                        @for finding in &report.findings { (damage_row(finding)) }
                    }
                }
                @if report.findings_left_out > 0 {
                    p.soft { (report.findings_left_out) " more: brindle verify lists them" }
                }
            }
        }
    }
}

fn superblock(member: &MemberInfo) -> Markup {
    html! {
        details.card {
            summary {
                "Stripe " (member.stripe) ", " (shown(&member.path)) ", " (Size(member.bytes))
                @if member.superblock_copies.iter().any(|copy| copy.error.is_some()) {
                    " " span.mark { "✗ a copy is damaged" }
                }
            }
            @for copy in &member.superblock_copies {
                h3 {
                    "Copy " (copy.copy)
                    @if copy.counts { " (counts)" }
                    @if let Some(error) = &copy.error { " " span.mark { "✗ " (error) } }
                }
                div.scroll {
                    table {
                        @for field in copy.anatomy.fields.iter().filter(|f| !f.meaning.is_empty()) {
                            tr { td { (field.name) } td { code { (field.meaning) } } }
                        }
                        @for check in &copy.anatomy.checks {
                            tr {
                                td { (check.name) }
                                td {
                                    code { (check.stored) }
                                    @if check.good { " good" }
                                    @else {
                                        span.mark { " ✗ " (check.computed) " was expected" }
                                    }
                                }
                            }
                        }
                    }
                }
            }
            @for one in &member.copies_differ {
                p.soft { "differ in " (one.field) ": A " (one.a) ", B " (one.b) }
            }
        }
    }
}
