//! `tracer` without a subcommand: the live view, on the screen or as plain blocks.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use ratatui::crossterm::event::Event as Input;
use tokio::time::{MissedTickBehavior, interval};

use super::blocks::Due;
use super::output::{Outlet, Reader, reader};
use super::stop::{Asked, Stop};
use super::{ShowArgs, WatchArgs};
use crate::beacon::Target;
use crate::session::{Ended, Session};
use crate::ui::keys;
use crate::ui::plain::Blocks;
use crate::ui::screen::Screen;
use crate::ui::theme::Theme;
use crate::ui::view::{Action, ViewState};
use crate::watch::ROUND_MS;

pub(super) async fn run(watch: &WatchArgs, show: &ShowArgs) -> Result<ExitCode> {
    let mut stop = Stop::listen()?;
    show.look_for_process();
    let is_plain = show.plain || !std::io::stdout().is_terminal();
    if !is_plain && watch.beacon == Some(Target::Stderr) && std::io::stderr().is_terminal() {
        bail!(
            "--beacon stderr would write over the screen; name a file, send standard error to one, or use --plain"
        );
    }
    let session = watch.session()?;
    let ended = if is_plain {
        plain(session, show, &mut stop).await?
    } else {
        screen(session, show, &mut stop).await?
    };
    match ended.unrecorded {
        Some(error) => Err(anyhow::Error::new(error).context("the recording is not whole")),
        None => Ok(ExitCode::SUCCESS),
    }
}

async fn plain(mut session: Session, show: &ShowArgs, stop: &mut Stop) -> Result<Ended> {
    let filter = show.filter();
    let mut rounds = interval(Duration::from_millis(ROUND_MS));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rounds.tick().await;
    let mut blocks = Blocks::default();
    let mut outlet = Outlet::open()?;
    let mut due = Due::default();
    loop {
        let asked = tokio::select! {
            biased;
            asked = stop.asked() => Some(asked),
            reader = outlet.written() => {
                if reader? == Reader::Gone {
                    return session.finish();
                }
                continue;
            }
            _ = rounds.tick() => None,
            () = session.changed() => continue,
        };
        let Some(asked) = asked else {
            session.round()?;
            if due.is_now(session.diagnosis()) {
                outlet.show(|left_out| block(left_out, blocks.next(&filter.report(session.diagnosis()))));
            }
            continue;
        };
        // The picture at the end: with it a second that was cut short is not lost.
        let ended = session.finish()?;
        if asked == Asked::Reader {
            let last = |left_out| block(left_out, blocks.next(&filter.report(&ended.diagnosis)));
            outlet.end(last).await?;
        }
        return Ok(ended);
    }
}

/// A block, and how many before it nobody took in time.
fn block(left_out: u64, text: String) -> String {
    match left_out {
        0 => text,
        1 => format!("  left out: 1 block that nobody read in time\n{text}"),
        many => format!("  left out: {many} blocks that nobody read in time\n{text}"),
    }
}

async fn screen(mut session: Session, show: &ShowArgs, stop: &mut Stop) -> Result<Ended> {
    let filter = show.filter();
    let mut rounds = interval(Duration::from_millis(ROUND_MS));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut view = ViewState::new(Theme::detect(show.ascii));
    let mut screen = Screen::enter()?;
    let mut inputs = keys::spawn()?;
    session.round()?;
    let mut report = filter.report(session.diagnosis());
    reader(screen.draw(&report, &mut view))?;
    loop {
        let action = tokio::select! {
            biased;
            _ = stop.asked() => Action::Quit,
            input = inputs.recv() => match input {
                Some(Input::Key(key)) => view.key(key),
                Some(Input::Resize(..)) => Action::Redraw,
                Some(_) => Action::None,
                None => Action::Quit,
            },
            _ = rounds.tick() => {
                session.round()?;
                if !view.paused() {
                    report = filter.report(session.diagnosis());
                }
                Action::Redraw
            }
            // It is drawn with the next round.
            () = session.changed() => Action::None,
        };
        match action {
            Action::Quit => break,
            Action::Redraw => {
                // The signal that says so may come later.
                if reader(screen.draw(&report, &mut view))? == Reader::Gone {
                    break;
                }
            }
            Action::None => {}
        }
    }
    drop(screen);
    session.finish()
}
