//! The terminal: taken, drawn on, asked for keys, and given back as it was, however this ends: by
//! a key, a signal, an error or a panic.

use super::history::History;
use super::page::Page;
use super::paint::Paint;
use super::source::Source;
use crate::args::{TopArgs, View};
use crate::error::{Failure, Outcome};
use crate::text::shown;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::env;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at the file, which changes four times a second.
const LOOK: Duration = Duration::from_millis(100);

/// Between two looks at whether it is to end.
const WATCH: Duration = Duration::from_millis(250);
/// For an end in good order, from when it was told.
const GRACE: Duration = Duration::from_secs(2);

/// Shows it until a key or a signal ends it.
pub(super) fn run(mut source: Source, args: &TopArgs) -> Result<Outcome, Failure> {
    let is_dumb = env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
    if !io::stdout().is_terminal() || is_dumb {
        let why = "standard output is no terminal that can be drawn on: `--once` prints one \
                   picture as text, `--json` the figures";
        return Err(Failure::Usage(why.to_owned()));
    }
    // What is wrong with the file is told before the screen is taken.
    let look = source.look()?;
    let has_color = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
    let mut page = Page::new(&source, args.view, Paint { has_color });
    page.take(&look);
    let mut history = History::default();
    history.add(look.snapshot);

    let failed = |op| move |source| Failure::Terminal { op, source };
    let is_told_to_end = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&is_told_to_end))
            .map_err(failed("be told when to leave"))?;
    }
    watch_the_end(Arc::clone(&is_told_to_end)).map_err(failed("be told when to leave"))?;
    let mut terminal = ratatui::try_init().map_err(failed("draw on"))?;
    let _restored = Restored;
    let mut drawn = 0_u64;
    // ORDERING: Relaxed. A wish to stop.
    while !is_told_to_end.load(Ordering::Relaxed) {
        drawn += 1;
        assert!(args.panic_at != Some(drawn), "the panic that `--panic-at` asks for");
        draw(&mut terminal, &mut page, &history).map_err(failed("draw on"))?;
        let due = Instant::now() + LOOK;
        // All keys that are there, so that a held one does not queue up.
        while event::poll(due.saturating_duration_since(Instant::now()))
            .map_err(failed("read keys from"))?
        {
            let Event::Key(key) = event::read().map_err(failed("read keys from"))? else { break };
            if key.kind != KeyEventKind::Release && press(&mut page, key) {
                return Ok(Outcome::Good);
            }
            draw(&mut terminal, &mut page, &history).map_err(failed("draw on"))?;
        }
        if page.is_paused {
            continue;
        }
        match source.look() {
            Ok(look) => {
                page.take(&look);
                if look.is_new {
                    history.add(look.snapshot);
                }
            }
            // It may be whole again at the next look.
            Err(failure) => page.problem = Some(shown(&failure.to_string()).into_owned()),
        }
    }
    Ok(Outcome::Good)
}

/// Ends the process if it does not end by itself: from a terminal that is gone nothing can be read
/// any more, and the library that waits for keys tries for ever.
fn watch_the_end(is_told_to_end: Arc<AtomicBool>) -> io::Result<()> {
    let watch = move || {
        // ORDERING: Relaxed. A wish to stop.
        while !is_told_to_end.load(Ordering::Relaxed) && io::stdout().is_terminal() {
            thread::sleep(WATCH);
        }
        thread::sleep(GRACE);
        ratatui::restore();
        std::process::exit(0);
    };
    thread::Builder::new().name("end".to_owned()).spawn(watch).map(|_detached| ())
}

fn draw(terminal: &mut DefaultTerminal, page: &mut Page, history: &History) -> io::Result<()> {
    terminal.draw(|frame| page.draw(history, frame.area(), frame.buffer_mut())).map(|_| ())
}

/// Gives the terminal back; a panic has a hook that does it before the message.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// What a key does. True: end.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other keys do nothing")]
pub(super) fn press(page: &mut Page, key: KeyEvent) -> bool {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, KeyCode::Char('c' | 'd'));
    }
    let view = page.view;
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return true,
        KeyCode::Char('p') => page.is_paused = !page.is_paused,
        KeyCode::Char('?' | 'h') => (page.has_help, page.scroll) = (!page.has_help, 0),
        KeyCode::Char('m') => page.shows_states = !page.shows_states,
        KeyCode::Char(digit @ '1'..='4') => {
            let number = digit.to_digit(10).unwrap_or(1) as usize;
            page.turn_to(View::Overview.turned(number - 1));
        }
        KeyCode::Tab | KeyCode::Right => page.turn_to(view.turned(1)),
        KeyCode::BackTab | KeyCode::Left => page.turn_to(view.turned(View::ALL.len() - 1)),
        KeyCode::Down => page.scroll = page.scroll.saturating_add(1),
        KeyCode::Up => page.scroll = page.scroll.saturating_sub(1),
        _ => {}
    }
    false
}
