//! What the reader has chosen to look at.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::theme::Theme;
use crate::report::Report;

/// What is to be done after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: the key means nothing here.
    None,
    /// End the program.
    Quit,
    /// Draw again.
    Redraw,
}

/// What fills the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Page {
    /// Verdict line, ledger, drops, flows.
    #[default]
    Overview,
    /// Everything that the verdicts say, with checks and remedies.
    Verdict,
    /// The books of each network namespace.
    Namespaces,
    /// Units of systemd, timers, packages.
    Units,
    /// Packets and changes on one axis.
    Timeline,
    /// Keys and words.
    Help,
}

/// The part of the overview that scrolls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Focus {
    /// The table of drops.
    #[default]
    Drops,
    /// The table of starved flows.
    Flows,
    /// The verdict, where the screen has room for it.
    Details,
}

/// What the overview had room for when it was last drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Panes {
    /// One text that scrolls.
    One,
    /// Drops and flows.
    #[default]
    Tables,
    /// Drops, flows, and the verdict in full.
    All,
}

/// How far something is scrolled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scroll {
    /// First row that is shown.
    first: usize,
    /// Rows that there were when it was last drawn.
    rows: usize,
    /// Rows that were shown then.
    shown: usize,
}

impl Scroll {
    /// The rows to show where there are `rows` and room for `room`.
    pub fn window(&mut self, rows: usize, room: usize) -> std::ops::Range<usize> {
        self.rows = rows;
        self.shown = room.min(rows);
        self.first = self.first.min(rows - self.shown);
        self.first..self.first + self.shown
    }

    /// First and last row that are shown, from 1, and how many there are; `None` where all are shown.
    pub(super) fn part(&self) -> Option<(usize, usize, usize)> {
        (self.shown < self.rows).then_some(if self.shown == 0 {
            (0, 0, self.rows)
        } else {
            (self.first + 1, self.first + self.shown, self.rows)
        })
    }

    fn to(&mut self, first: usize) {
        self.first = first.min(self.rows - self.shown);
    }
}

/// The screen shows what is, or what was when the reader paused it.
#[derive(Clone, Debug, Default)]
enum Time {
    #[default]
    Live,
    /// To be paused at the next drawing.
    Pausing,
    Paused(Box<Report>),
}

/// Where the pictures come from: a reader must never take what was for what is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Showing {
    /// This node, now.
    #[default]
    Live,
    /// A recording.
    Recording,
    /// The last picture of a recording.
    EndOfRecording,
}

/// What the reader has chosen to look at.
#[derive(Clone, Debug)]
pub struct ViewState {
    /// What the terminal can show.
    pub theme: Theme,
    /// What fills the screen.
    pub(super) page: Page,
    /// Which part scrolls.
    pub(super) focus: Focus,
    pub(super) drops: Scroll,
    pub(super) flows: Scroll,
    pub(super) details: Scroll,
    /// Of the page that covers the overview.
    pub(super) cover: Scroll,
    /// What the overview had room for.
    pub(super) panes: Panes,
    time: Time,
    /// Where the pictures come from.
    pub showing: Showing,
}

impl ViewState {
    /// The overview, live.
    #[must_use]
    pub fn new(theme: Theme) -> Self {
        Self {
            theme,
            page: Page::default(),
            focus: Focus::default(),
            drops: Scroll::default(),
            flows: Scroll::default(),
            details: Scroll::default(),
            cover: Scroll::default(),
            panes: Panes::default(),
            time: Time::Live,
            showing: Showing::default(),
        }
    }

    /// Whether the reader has paused the screen. The tracer goes on counting.
    #[must_use]
    pub fn paused(&self) -> bool {
        !matches!(self.time, Time::Live)
    }

    /// What a reader must know of the picture before anything else, with two spaces behind it; empty where it is
    /// of this node and of now.
    pub(super) fn mark(&self) -> &'static str {
        match (self.showing, self.paused()) {
            (Showing::Live, false) => "",
            (Showing::Live, true) => "PAUSED  ",
            (Showing::Recording, false) => "REPLAY  ",
            (Showing::Recording, true) => "REPLAY, PAUSED  ",
            (Showing::EndOfRecording, _) => "END OF REPLAY  ",
        }
    }

    /// The report to draw: this one, or the one at which the reader paused.
    pub(super) fn choose(&mut self, report: &Report) -> Option<Report> {
        if matches!(self.time, Time::Pausing) {
            self.time = Time::Paused(Box::new(report.clone()));
        }
        match &self.time {
            Time::Paused(then) => Some(then.as_ref().clone()),
            Time::Live | Time::Pausing => None,
        }
    }

    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent) -> Action {
        if key.kind == KeyEventKind::Release {
            return Action::None;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Action::Quit,
                KeyCode::Char('l') => Action::Redraw,
                _ => Action::None,
            };
        }
        match key.code {
            KeyCode::Char('q' | 'Q') => return Action::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.turn(Page::Help),
            KeyCode::Char('v') | KeyCode::Enter => self.turn(Page::Verdict),
            KeyCode::Char('n') => self.turn(Page::Namespaces),
            KeyCode::Char('u') => self.turn(Page::Units),
            KeyCode::Char('t') => self.turn(Page::Timeline),
            KeyCode::Esc | KeyCode::Backspace if self.page != Page::Overview => self.turn(Page::Overview),
            KeyCode::Char('p' | ' ') => {
                self.time = if self.paused() { Time::Live } else { Time::Pausing };
            }
            KeyCode::Tab => self.focus(true),
            KeyCode::BackTab => self.focus(false),
            KeyCode::Up | KeyCode::Char('k') => self.scroll(|at, _| at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.scroll(|at, _| at.saturating_add(1)),
            KeyCode::PageUp => self.scroll(|at, page| at.saturating_sub(page)),
            KeyCode::PageDown => self.scroll(usize::saturating_add),
            KeyCode::Home | KeyCode::Char('g') => self.scroll(|_, _| 0),
            KeyCode::End | KeyCode::Char('G') => self.scroll(|_, _| usize::MAX),
            _ => return Action::None,
        }
        Action::Redraw
    }

    /// Turns to a page, or back to the overview where it is there already.
    fn turn(&mut self, page: Page) {
        self.page = if self.page == page { Page::Overview } else { page };
        self.cover = Scroll::default();
    }

    fn focus(&mut self, forward: bool) {
        let order: &[Focus] = match self.panes {
            Panes::All => &[Focus::Drops, Focus::Flows, Focus::Details],
            Panes::Tables | Panes::One => &[Focus::Drops, Focus::Flows],
        };
        let at = order.iter().position(|&focus| focus == self.focus).unwrap_or(0);
        let step = if forward { 1 } else { order.len() - 1 };
        self.focus = order[(at + step) % order.len()];
    }

    fn scroll(&mut self, to: impl Fn(usize, usize) -> usize) {
        let scroll = match (self.page, self.panes, self.focus) {
            (Page::Overview, Panes::One, _) => &mut self.cover,
            (Page::Overview, _, Focus::Drops) => &mut self.drops,
            (Page::Overview, _, Focus::Flows) => &mut self.flows,
            (Page::Overview, _, Focus::Details) => &mut self.details,
            _ => &mut self.cover,
        };
        scroll.to(to(scroll.first, scroll.shown.max(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::sample;

    fn view() -> ViewState {
        ViewState::new(Theme {
            colour: false,
            unicode: false,
        })
    }

    fn press(view: &mut ViewState, code: KeyCode) -> Action {
        view.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn q_and_control_c_quit_and_c_does_not() {
        let mut view = view();
        assert_eq!(press(&mut view, KeyCode::Char('q')), Action::Quit);
        assert_eq!(
            view.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)),
            Action::Quit
        );
        assert_eq!(press(&mut view, KeyCode::Char('c')), Action::None);
    }

    #[test]
    fn scrolling_stops_at_both_ends_and_turns_at_once() {
        let mut view = view();
        assert_eq!(view.drops.window(20, 5), 0..5);
        for _ in 0..100 {
            press(&mut view, KeyCode::Down);
        }
        assert_eq!(view.drops.window(20, 5), 15..20);
        press(&mut view, KeyCode::Up);
        assert_eq!(view.drops.window(20, 5), 14..19);
        press(&mut view, KeyCode::PageUp);
        assert_eq!(view.drops.window(20, 5), 9..14);
        press(&mut view, KeyCode::End);
        assert_eq!(view.drops.window(20, 5), 15..20);
        assert_eq!(view.drops.window(3, 5), 0..3, "rows may become fewer");
        press(&mut view, KeyCode::Home);
        assert_eq!(view.drops.window(0, 0), 0..0);
    }

    #[test]
    fn tab_goes_round_what_is_there() {
        let mut view = view();
        let mut seen = vec![];
        for _ in 0..2 {
            press(&mut view, KeyCode::Tab);
            seen.push(view.focus);
        }
        assert_eq!(seen, [Focus::Flows, Focus::Drops]);
        view.panes = Panes::All;
        press(&mut view, KeyCode::BackTab);
        assert_eq!(view.focus, Focus::Details);
        view.panes = Panes::Tables;
        press(&mut view, KeyCode::Tab);
        assert_eq!(view.focus, Focus::Flows, "a part that went away is left");
    }

    #[test]
    fn a_page_opens_and_closes_with_its_key() {
        let mut view = view();
        press(&mut view, KeyCode::Char('?'));
        assert_eq!(view.page, Page::Help);
        press(&mut view, KeyCode::Char('v'));
        assert_eq!(view.page, Page::Verdict);
        press(&mut view, KeyCode::Char('v'));
        assert_eq!(view.page, Page::Overview);
        assert_eq!(press(&mut view, KeyCode::Esc), Action::None);
    }

    #[test]
    fn a_paused_screen_shows_what_was() {
        let mut view = view();
        let (then, now) = (sample::incident(), sample::healthy());
        assert_eq!(view.choose(&then), None);
        press(&mut view, KeyCode::Char('p'));
        assert_eq!(view.choose(&then).as_ref(), Some(&then));
        assert_eq!(view.choose(&now).as_ref(), Some(&then));
        press(&mut view, KeyCode::Char('p'));
        assert_eq!(view.choose(&now), None);
    }
}
