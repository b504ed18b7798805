//! What is on the screen: a head, one of the views, a foot. All of it is lines that are cut where
//! the screen ends, so that every size has some picture.

use super::history::History;
use super::paint::Paint;
use super::source::{Host, Look, Source};
use super::{about, overview, reclaim, wblocks};
use crate::args::View;
use crate::text::{Age, shown};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget};

/// Lines above the view.
const HEAD: u16 = 2;

const HELP: &str = "\
Keys
  q  Esc  Ctrl-C     end
  1  2  3  4         the page of that number
  Tab  left  right   the next one, the one before
  up  down           scroll
  p                  pause, and go on
  m                  paint the map by state, or by what is live
  ?                  this, and back

Figures
  Rates are those of the last second, latencies those of the last ten. Gets,
  puts and deletes are estimated from those that the host has measured, one of
  so many (`Store::sample_latencies`): many at once and updates do not count.
  appended   what was reserved in wblocks: records, headers, padding, moves
  runway     how long the free wblocks last, at the rate of some 15 seconds
  pins       of who holds a record: what it may see is not reused
  flush      what was superseded waits until what superseded it is durable
  docs/operating.md says what to do about each.";

/// What is shown, and how.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) view: View,
    pub(super) paint: Paint,
    pub(super) is_paused: bool,
    pub(super) has_help: bool,
    /// The map shows states, not what is live.
    pub(super) shows_states: bool,
    /// Lines of the view that are above the screen.
    pub(super) scroll: u16,
    /// The file could not be read just now.
    pub(super) problem: Option<String>,
    file: String,
    host: Host,
    age_ms: u64,
}

impl Page {
    pub(super) fn new(source: &Source, view: View, paint: Paint) -> Self {
        Self {
            view,
            paint,
            is_paused: false,
            has_help: false,
            shows_states: false,
            scroll: 0,
            problem: None,
            file: shown(&source.path().display().to_string()).into_owned(),
            host: Host::Running,
            age_ms: 0,
        }
    }

    /// Takes in how the host is.
    pub(super) fn take(&mut self, look: &Look) {
        (self.host, self.age_ms, self.problem) = (look.host, look.age_ms, None);
    }

    /// Shows another view, from its start.
    pub(super) fn turn_to(&mut self, view: View) {
        (self.view, self.scroll, self.has_help) = (view, 0, false);
    }

    /// Draws all of it.
    pub(super) fn draw(&mut self, history: &History, area: Rect, buffer: &mut Buffer) {
        let lines = self.lines(history, area);
        let head = area.height.min(HEAD + u16::from(self.alarm().is_some()));
        let below = Rect { y: area.y + head, height: area.height - head, ..area };
        let view_lines = u16::try_from(lines.len()).unwrap_or(u16::MAX);
        self.scroll = self.scroll.min(view_lines.saturating_sub(below.height));
        Paragraph::new(self.head(history)).render(Rect { height: head, ..area }, buffer);
        Paragraph::new(lines).scroll((self.scroll, 0)).render(below, buffer);
    }

    /// The same as lines of text.
    pub(super) fn write_text(&mut self, history: &History, width: u16, height: u16) -> String {
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        self.draw(history, area, &mut buffer);
        let row = |y| {
            let cells = (0..width).filter_map(|x| buffer.cell((x, y)));
            let text: String = cells.map(ratatui::buffer::Cell::symbol).collect();
            text.trim_end().to_owned() + "\n"
        };
        let text: String = (0..height).map(row).collect();
        text.trim_end().to_owned() + "\n"
    }

    fn lines(&self, history: &History, area: Rect) -> Vec<Line<'static>> {
        if self.has_help {
            return HELP.lines().map(Line::from).collect();
        }
        let Some(last) = history.last() else { return Vec::new() };
        let (paint, width) = (self.paint, usize::from(area.width));
        match self.view {
            View::Overview => overview::lines(paint, history, last, width),
            View::Wblocks => {
                let cells = wblocks::Cells { states: self.shows_states, width };
                wblocks::lines(paint, last, cells, area.height.saturating_sub(HEAD).into())
            }
            View::Reclaim => reclaim::lines(paint, history, last, width),
            View::Store => about::lines(paint, last, width),
        }
    }

    fn head(&self, history: &History) -> Vec<Line<'static>> {
        let paint = self.paint;
        let who = history.last().map_or_else(String::new, |last| {
            let since = Age(last.publishing_ms.saturating_mul(1_000));
            format!("{}, pid {}, for {since}", shown(&last.program), last.pid)
        });
        let (state, style) = match (self.host, self.is_paused) {
            (_, true) => ("paused", paint.odd()),
            (Host::Running, _) => ("running", paint.good()),
            (Host::Closing, _) => ("closing", paint.odd()),
            (Host::Silent, _) => ("silent", paint.bad()),
            (Host::Ended, _) => ("ended", paint.bad()),
            (Host::Closed, _) => ("closed", paint.odd()),
        };
        let mut lines = vec![Line::from(vec![
            Span::styled(format!(" {state} "), style),
            Span::raw(format!(" {who}")),
            Span::styled(format!("  {}", self.file), paint.dim()),
        ])];
        let mut tabs = Vec::new();
        for (n, view) in (1..).zip(View::ALL) {
            let is_chosen = view == self.view && !self.has_help;
            let style = if is_chosen { Paint::chosen() } else { paint.dim() };
            let mark = if is_chosen { ['[', ']'] } else { [' ', ' '] };
            tabs.push(Span::styled(format!("{}{n} {view:?}{}", mark[0], mark[1]), style));
        }
        tabs.push(Span::styled("  ? help  p pause  q quit", paint.dim()));
        lines.push(Line::from(tabs));
        lines.extend(self.alarm().map(|alarm| Line::styled(alarm, paint.bad())));
        lines
    }

    /// What is to be known of a picture of the past.
    fn alarm(&self) -> Option<String> {
        if self.problem.is_some() {
            return self.problem.clone();
        }
        let age = Age(self.age_ms.saturating_mul(1_000));
        let alarm = match self.host {
            Host::Running | Host::Closing => return None,
            Host::Silent => format!("the host has not written for {age}: it is stopped, or stuck"),
            Host::Ended => {
                format!("the host has ended without closing the store; it last wrote {age} ago")
            }
            Host::Closed => format!("the host has closed the store, {age} after this"),
        };
        Some(alarm)
    }
}
