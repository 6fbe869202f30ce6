//! What the terminal can show.

use std::borrow::Cow;

use ratatui::style::{Color, Modifier, Style};

use crate::report::{Class, Where};

/// What the terminal can show. Colour never carries meaning alone: what it says is said in words too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// It has colours, of which the basic eight are used.
    pub colour: bool,
    /// It has more than ASCII.
    pub unicode: bool,
}

impl Theme {
    /// What this terminal can show, from the environment; `ascii` where the user asked for that.
    #[must_use]
    pub fn detect(ascii: bool) -> Self {
        Self::from_environment(ascii, |name| std::env::var(name).ok())
    }

    /// As [`Theme::detect`], with the environment given.
    ///
    /// The kernel's own console and the terminals of serial lines (`linux`, `vt100`, `vt220`, …) get
    /// ASCII whatever the locale: their fonts lack most of the rest. Of these only `linux` has colours.
    /// `NO_COLOR` is <https://no-color.org>.
    pub fn from_environment(ascii: bool, get: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| get(name).filter(|value| !value.is_empty());
        let term = set("TERM").unwrap_or_else(|| "dumb".to_owned());
        let serial = term == "dumb" || term == "ansi" || term.starts_with("vt");
        let locale = set("LC_ALL")
            .or_else(|| set("LC_CTYPE"))
            .or_else(|| set("LANG"))
            .unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        let utf8 = locale.contains("utf-8") || locale.contains("utf8");
        Self {
            colour: set("NO_COLOR").is_none() && !serial,
            unicode: !ascii && utf8 && !serial && term != "linux",
        }
    }

    /// A line that sections are set off with.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        if self.unicode { "─" } else { "-" }
    }

    /// A line between left and right.
    #[must_use]
    pub fn bar(&self) -> &'static str {
        if self.unicode { "│" } else { "|" }
    }

    /// Text that the terminal can show.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.unicode || text.is_ascii() {
            return Cow::Borrowed(text);
        }
        Cow::Owned(
            text.chars()
                .map(|c| match c {
                    c if c.is_ascii() => c,
                    '‘' | '’' => '\'',
                    '“' | '”' => '"',
                    '–' | '—' | '‑' | '·' => '-',
                    '→' => '>',
                    '←' => '<',
                    '\u{a0}' | '\u{202f}' => ' ',
                    _ => '?',
                })
                .collect(),
        )
    }

    fn coloured(self, colour: Color) -> Style {
        if self.colour {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    /// The word that says where the fault is.
    #[must_use]
    pub fn place(self, place: Where) -> Style {
        let colour = match place {
            Where::Healthy => Color::Green,
            Where::Unknown => Color::Yellow,
            Where::DataPath | Where::GuestKernel | Where::Process => Color::Red,
        };
        self.coloured(colour)
            .add_modifier(Modifier::BOLD | Modifier::REVERSED)
    }

    /// A drop of this class.
    #[must_use]
    pub fn class(self, class: Class) -> Style {
        match class {
            Class::State => self.coloured(Color::Red).add_modifier(Modifier::BOLD),
            Class::Resource => self.coloured(Color::Yellow),
            Class::Policy => self.coloured(Color::Magenta),
            Class::Protocol | Class::Environment => self.quiet(),
            Class::Unclassified => Style::new(),
        }
    }

    /// Something that must not be overlooked.
    #[must_use]
    pub fn warning(self) -> Style {
        self.coloured(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// A title.
    #[must_use]
    pub fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The name of a section or column.
    #[must_use]
    pub fn heading(self) -> Style {
        self.coloured(Color::Cyan)
    }

    /// A command.
    #[must_use]
    pub fn verbatim(self) -> Style {
        self.coloured(Color::Green)
    }

    /// What matters less.
    #[must_use]
    pub fn quiet(self) -> Style {
        if self.colour {
            Style::new().add_modifier(Modifier::DIM)
        } else {
            Style::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(ascii: bool, environment: &[(&str, &str)]) -> (bool, bool) {
        let get = |name: &str| {
            environment
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        };
        let theme = Theme::from_environment(ascii, get);
        (theme.colour, theme.unicode)
    }

    #[test]
    fn terminals_get_what_they_can_show() {
        let utf8 = ("LANG", "C.UTF-8");
        assert_eq!(detect(false, &[("TERM", "xterm-256color"), utf8]), (true, true));
        assert_eq!(detect(true, &[("TERM", "xterm-256color"), utf8]), (true, false));
        assert_eq!(
            detect(false, &[("TERM", "xterm"), utf8, ("LC_ALL", "C")]),
            (true, false)
        );
        assert_eq!(
            detect(false, &[("TERM", "xterm"), utf8, ("LC_ALL", "")]),
            (true, true)
        );
        assert_eq!(
            detect(false, &[("TERM", "xterm"), utf8, ("NO_COLOR", "1")]),
            (false, true)
        );
        assert_eq!(
            detect(false, &[("TERM", "xterm"), utf8, ("NO_COLOR", "")]),
            (true, true)
        );
        assert_eq!(detect(false, &[("TERM", "linux"), utf8]), (true, false));
        assert_eq!(detect(false, &[("TERM", "vt220"), utf8]), (false, false));
        assert_eq!(detect(false, &[]), (false, false));
    }

    #[test]
    fn ascii_terminals_get_ascii() {
        let theme = Theme {
            colour: false,
            unicode: false,
        };
        assert_eq!(theme.text("a → b – “c”…"), "a > b - \"c\"?");
    }
}
