//! Pictures on ratatui's test terminal, compared cell by cell with those that are kept, and sizes
//! and contents that must not bring it down.
//!
//! `INSTA_UPDATE=always cargo test -p brindle-tools --lib top` writes them anew; look at the
//! difference before you keep it.

use super::history::History;
use super::page::Page;
use super::paint::Paint;
use super::screen::press;
use super::snapshot::Snapshot;
use super::source::{Host, Look, Source};
use crate::args::View;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use std::path::Path;

const SAMPLE: &str = include_str!("../../tests/top/sample.json");

fn sample() -> Snapshot {
    serde_json::from_str(SAMPLE).unwrap()
}

/// The sample as it is `quarters` of a second later, under a load that swells and ebbs.
fn later(quarters: u64) -> Snapshot {
    let mut top = sample();
    let swell = (0..=quarters).map(|n| 10 + (n % 20).min(19 - n % 20)).sum::<u64>() - 10;
    top.number += quarters;
    top.publishing_ms += 250 * quarters;
    top.written_at_us += 250_000 * quarters;
    top.appended_bytes += swell << 20;
    top.stats.reclaim.moved_bytes += (swell << 20) / 4;
    top.stats.reclaim.freed_wblocks += swell / 10;
    let io = top.stats.io.as_mut().unwrap();
    io.bytes_written += swell << 20;
    io.syncs += quarters;
    let calls = top.calls.as_mut().unwrap();
    for (call, each) in [(&mut calls.get, 6_400), (&mut calls.put, 640)] {
        call.count += swell * each * 10;
        for (place, bucket) in call.latency_ns.iter_mut().enumerate() {
            bucket.1 += swell * each / [1, 20, 200, 6_000][place];
        }
    }
    top
}

fn history(snapshots: impl IntoIterator<Item = Snapshot>) -> History {
    let mut history = History::default();
    snapshots.into_iter().for_each(|snapshot| history.add(snapshot));
    history
}

fn page(view: View, host: Host, has_color: bool) -> Page {
    let mut page = Page::new(&Source::new(Path::new("data/top.json")), view, Paint { has_color });
    page.take(&Look { snapshot: sample(), host, age_ms: 12_000, is_new: true });
    page
}

fn terminal(
    page: &mut Page,
    history: &History,
    (width, height): (u16, u16),
) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| page.draw(history, frame.area(), frame.buffer_mut())).unwrap();
    terminal
}

/// Compares the picture with what is kept under `name`.
fn assert_picture(name: &str, page: &mut Page, history: &History, size: (u16, u16)) {
    let terminal = terminal(page, history, size);
    insta::with_settings!({
        prepend_module_to_snapshot => false,
        omit_expression => true,
        snapshot_path => "../../tests/snapshots/top",
    }, {
        insta::assert_snapshot!(name, terminal.backend());
    });
}

#[test]
fn each_view_on_a_terminal_of_the_usual_size() {
    let history = history((0..120).map(later));
    for view in View::ALL {
        let name = format!("{view:?}").to_lowercase();
        assert_picture(&name, &mut page(view, Host::Running, false), &history, (80, 24));
    }
    let mut states = page(View::Wblocks, Host::Running, false);
    states.shows_states = true;
    assert_picture("wblocks_by_state", &mut states, &history, (80, 24));
    let mut help = page(View::Store, Host::Running, false);
    help.has_help = true;
    assert_picture("help", &mut help, &history, (80, 24));
}

#[test]
fn a_wide_terminal_a_small_one_and_a_tiny_one() {
    let history = history((0..120).map(later));
    assert_picture("wide", &mut page(View::Overview, Host::Running, false), &history, (120, 30));
    assert_picture("small", &mut page(View::Overview, Host::Running, false), &history, (40, 12));
    assert_picture("tiny", &mut page(View::Overview, Host::Ended, false), &history, (20, 5));
}

#[test]
fn what_is_wrong_is_said() {
    let mut top = later(9);
    top.stats.oldest_pin_ms = 75_000;
    top.stats.stop_writes = true;
    top.stats.reclaim.is_pressed = true;
    top.stats.runway.seconds_left = Some(3);
    top.stats.unflushed_bytes = 60 << 20;
    top.calls = None;
    top.health = serde_json::from_str(
        r#"{"health":"shadow_failed","path":"/mnt/a","reason":"Input/output error"}"#,
    )
    .unwrap();
    let history = history([later(1), later(5), top]);
    assert_picture(
        "in_trouble",
        &mut page(View::Overview, Host::Silent, false),
        &history,
        (80, 24),
    );
}

#[test]
fn hosts_that_are_gone_are_named() {
    let history = history([sample()]);
    for (host, word) in [
        (Host::Silent, "the host has not written for 12 s"),
        (Host::Ended, "has ended without closing the store; it last wrote 12 s ago"),
        (Host::Closed, "the host has closed the store"),
    ] {
        let text = page(View::Overview, host, false).write_text(&history, 80, 24);
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn no_size_and_no_view_brings_it_down() {
    let many = history((0..50).map(later));
    let none = History::default();
    for view in View::ALL {
        let widths = (0..30_u16).chain([59, 60, 79, 80, 99, 100, 300]);
        let heights = || (0..12_u16).chain([23, 24, 100]);
        for (width, height) in widths.flat_map(|width| heights().map(move |h| (width, h))) {
            let mut page = page(view, Host::Ended, true);
            page.scroll = height / 2;
            page.has_help = width % 7 == 0;
            terminal(&mut page, if width % 10 == 0 { &none } else { &many }, (width, height));
        }
    }
}

#[test]
fn no_content_brings_it_down_or_writes_on_the_terminal() {
    let mut top = sample();
    let hostile = "\u{1b}[2J\u{202e}\n\u{7}";
    top.program = hostile.to_owned();
    top.shadow = Some(hostile.to_owned());
    top.engine_version = hostile.to_owned();
    top.stats.huge_pages = hostile.to_owned();
    top.stats.notices = vec![hostile.to_owned(), String::new(), "long ".repeat(1000)];
    top.stats.ring_refused = Some(hostile.to_owned());
    top.stats.live_bytes = u64::MAX;
    top.stats.data_size_bytes = 0;
    top.stats.runway.seconds_left = Some(u64::MAX);
    top.stats.runway.free_wblocks = u64::MAX;
    top.stats.oldest_pin_ms = u64::MAX;
    top.map.wblocks_a_cell = u32::MAX;
    top.map.stripes[0].states = hostile.repeat(100);
    top.map.stripes[0].live = "ä!".repeat(1000);
    top.map.stripes[0].wblocks.free = u64::MAX;
    top.map.stripes[0].wblocks.used = u64::MAX;
    top.publishing_ms = u64::MAX;
    let mut calls = top.calls.clone().unwrap();
    calls.get.count = u64::MAX;
    calls.get.latency_ns = vec![(u64::MAX, u64::MAX), (0, u64::MAX)];
    calls.put.latency_ns = Vec::new();
    top.calls = Some(calls);
    let mut none = top.clone();
    none.map.stripes = Vec::new();
    none.stats.io = None;
    none.shadow = None;
    for snapshots in [vec![top.clone()], vec![sample(), top.clone()], vec![none]] {
        let history = history(snapshots);
        for view in View::ALL {
            for states in [false, true] {
                let mut page = page(view, Host::Silent, true);
                page.shows_states = states;
                let terminal = terminal(&mut page, &history, (80, 24));
                for cell in terminal.backend().buffer().content() {
                    assert!(!cell.symbol().contains(crate::text::is_unprintable), "{cell:?}");
                }
            }
        }
    }
}

#[test]
fn there_is_colour_only_where_it_is_wanted() {
    let history = history((0..20).map(later));
    let colors = |has_color| {
        let mut page = page(View::Wblocks, Host::Ended, has_color);
        let terminal = terminal(&mut page, &history, (80, 24));
        let cells = terminal.backend().buffer().content().to_vec();
        cells.iter().filter(|cell| (cell.fg, cell.bg) != (Color::Reset, Color::Reset)).count()
    };
    assert_eq!(colors(false), 0);
    assert!(colors(true) > 100, "the map");
}

#[test]
fn keys_do_what_the_help_says() {
    let mut page = page(View::Overview, Host::Running, false);
    let mut press = |code| press(&mut page, KeyEvent::new(code, KeyModifiers::NONE));
    assert!(press(KeyCode::Char('q')) && press(KeyCode::Esc));
    assert!(!press(KeyCode::Char('c')) && !press(KeyCode::F(1)));
    for code in [KeyCode::Tab, KeyCode::Right, KeyCode::BackTab, KeyCode::Char('4')] {
        assert!(!press(code));
    }
    assert!(!press(KeyCode::Tab), "around the end");
    for code in ['p', 'm', '?'] {
        assert!(!press(KeyCode::Char(code)));
    }
    assert!(!press(KeyCode::Down) && !press(KeyCode::Down) && !press(KeyCode::Up));
    assert_eq!((page.view, page.scroll), (View::Overview, 1));
    assert!(page.is_paused && page.shows_states && page.has_help);
    let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
    assert!(super::screen::press(&mut page, control('c')));
    assert!(!super::screen::press(&mut page, control('p')));
}

#[test]
fn another_run_of_the_host_begins_anew() {
    let mut history = history([later(1), later(9)]);
    assert!(history.rates().is_some());
    let mut restarted = sample();
    restarted.pid += 1;
    history.add(restarted);
    assert!(history.rates().is_none(), "nothing is known of it yet");
}
