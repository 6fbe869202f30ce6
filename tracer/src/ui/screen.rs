//! The terminal: taken over for the screen, and given back as it was.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, MoveTo, Show};
use ratatui::crossterm::queue;
use ratatui::crossterm::style::{Attribute, SetAttribute};
use ratatui::crossterm::terminal::{
    self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};

use super::render::render;
use super::view::ViewState;
use crate::report::Report;

/// Whether the terminal is taken over. There is one terminal, and a panic in any thread gives it back.
static TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// What a terminal is taken for that does not know its size, as serial lines do not.
const FALLBACK: (u16, u16) = (80, 24);

/// The terminal's output. Once the terminal was given back it takes everything and writes nothing: ratatui
/// wants to show the cursor when it is dropped, and would complain of a terminal that is gone.
#[derive(Debug)]
struct Output(File);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if TAKEN.load(Ordering::SeqCst) {
            self.0.write(bytes)
        } else {
            Ok(bytes.len())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if TAKEN.load(Ordering::SeqCst) {
            self.0.flush()
        } else {
            Ok(())
        }
    }
}

/// The terminal while it is ours. Dropping it gives the terminal back; so does a panic.
#[derive(Debug)]
pub struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Output>>>,
}

impl Screen {
    /// Takes the terminal over: raw mode, alternate screen, no cursor.
    ///
    /// # Errors
    /// Where standard output is no terminal, the terminal refuses, or it is taken already.
    pub fn enter() -> Result<Self> {
        if !io::stdout().is_terminal() {
            bail!("standard output is no terminal: use --plain");
        }
        // A handle of its own: nothing else waits for its lock, not even a panic in the midst of drawing.
        let output = terminal_output().context("standard output cannot be opened again: use --plain")?;
        if TAKEN.swap(true, Ordering::SeqCst) {
            bail!("the terminal is taken over already: leave the first screen before entering another");
        }
        HOOK.call_once(|| {
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                previous(panic);
            }));
        });
        match Self::take(output) {
            Ok(screen) => Ok(screen),
            Err(error) => {
                give_back();
                Err(error).context("the terminal cannot be set up for the screen: use --plain")
            }
        }
    }

    fn take(output: File) -> io::Result<Self> {
        enable_raw_mode()?;
        let mut output = BufWriter::with_capacity(1 << 16, Output(output));
        queue!(output, EnterAlternateScreen, Hide, Clear(ClearType::All))?;
        output.flush()?;
        let viewport = Viewport::Fixed(Rect::from(((0, 0).into(), size().into())));
        let terminal = Terminal::with_options(CrosstermBackend::new(output), TerminalOptions { viewport })?;
        Ok(Self { terminal })
    }

    /// Draws the report as the view asks for, in the terminal's present size.
    ///
    /// # Errors
    /// Where the terminal is gone, or a panic has given it back.
    pub fn draw(&mut self, report: &Report, view: &mut ViewState) -> Result<()> {
        if !TAKEN.load(Ordering::SeqCst) {
            bail!("the terminal was given back after a panic");
        }
        let now = Rect::from(((0, 0).into(), size().into()));
        let outcome = if self.terminal.get_frame().area() == now {
            Ok(())
        } else {
            self.terminal.resize(now)
        };
        outcome
            .and_then(|()| self.terminal.draw(|frame| render(frame, report, view)))
            .context("the terminal cannot be written to: was it closed?")?;
        Ok(())
    }

    /// Forgets what is on the terminal, so that the next drawing repairs what others wrote over it.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub fn clear(&mut self) -> Result<()> {
        self.terminal
            .clear()
            .context("the terminal cannot be written to: was it closed?")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back as it was, once. What fails here fails because the terminal is gone.
fn give_back() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut sequence = Vec::new();
    // Terminals without an alternate screen (vt100, older Linux consoles) are left empty, not littered.
    let queued = queue!(
        sequence,
        SetAttribute(Attribute::Reset),
        Clear(ClearType::All),
        MoveTo(0, 0),
        LeaveAlternateScreen,
        Show
    );
    if let (Ok(()), Ok(mut output)) = (queued, terminal_output()) {
        let _ = output.write_all(&sequence);
    }
    let _ = disable_raw_mode();
}

fn terminal_output() -> io::Result<File> {
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// Columns and rows of the terminal; what `COLUMNS` and `LINES` say where it does not know (a serial
/// line's size is 0 × 0), else 80 × 24.
fn size() -> (u16, u16) {
    let asked = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    resolve(
        terminal::size().unwrap_or_default(),
        (asked("COLUMNS"), asked("LINES")),
    )
}

fn resolve(known: (u16, u16), asked: (Option<u16>, Option<u16>)) -> (u16, u16) {
    let either = |known: u16, asked: Option<u16>, fallback| match known {
        0 => asked.filter(|&number| number > 0).unwrap_or(fallback),
        known => known,
    };
    (
        either(known.0, asked.0, FALLBACK.0),
        either(known.1, asked.1, FALLBACK.1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_does_not_know_its_size_gets_one() {
        assert_eq!(resolve((0, 0), (None, None)), (80, 24));
        assert_eq!(resolve((0, 0), (Some(132), Some(0))), (132, 24));
        assert_eq!(resolve((200, 50), (Some(132), Some(43))), (200, 50));
    }
}
