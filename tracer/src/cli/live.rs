//! `tracer` without a subcommand: the live view, on the screen or as plain blocks.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use ratatui::crossterm::event::Event as Input;
use tokio::time::{MissedTickBehavior, interval};

use super::stop::Stop;
use super::{ShowArgs, WatchArgs};
use crate::session::Session;
use crate::ui::keys;
use crate::ui::plain::Blocks;
use crate::ui::screen::Screen;
use crate::ui::theme::Theme;
use crate::ui::view::{Action, ViewState};
use crate::watch::ROUND_MS;

/// Rounds from one plain block to the next: one a second.
const ROUNDS_PER_BLOCK: u64 = 1000 / ROUND_MS;

pub(super) async fn run(watch: &WatchArgs, show: &ShowArgs) -> Result<ExitCode> {
    let mut stop = Stop::listen()?;
    let session = Session::start(&watch.options(), watch.record.as_deref())?;
    if show.plain || !std::io::stdout().is_terminal() {
        plain(session, show, &mut stop).await?;
    } else {
        screen(session, show, &mut stop).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn plain(mut session: Session, show: &ShowArgs, stop: &mut Stop) -> Result<()> {
    let filter = show.filter();
    let mut rounds = interval(Duration::from_millis(ROUND_MS));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rounds.tick().await;
    let mut blocks = Blocks::default();
    let mut number = 0u64;
    loop {
        tokio::select! {
            biased;
            () = stop.asked() => break,
            _ = rounds.tick() => {}
        }
        session.round()?;
        number += 1;
        if number.is_multiple_of(ROUNDS_PER_BLOCK) {
            let text = blocks.next(&filter.apply(session.report()));
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()?;
        }
    }
    session.finish()
}

async fn screen(mut session: Session, show: &ShowArgs, stop: &mut Stop) -> Result<()> {
    let filter = show.filter();
    let mut rounds = interval(Duration::from_millis(ROUND_MS));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut view = ViewState::new(Theme::detect(show.ascii));
    let mut screen = Screen::enter()?;
    let mut inputs = keys::spawn()?;
    session.round()?;
    let mut report = filter.apply(session.report());
    screen.draw(&report, &mut view)?;
    loop {
        let action = tokio::select! {
            biased;
            () = stop.asked() => Action::Quit,
            input = inputs.recv() => match input {
                Some(Input::Key(key)) => view.key(key),
                Some(Input::Resize(..)) => Action::Redraw,
                Some(_) => Action::None,
                None => Action::Quit,
            },
            _ = rounds.tick() => {
                session.round()?;
                if !view.paused() {
                    report = filter.apply(session.report());
                }
                Action::Redraw
            }
        };
        match action {
            Action::Quit => break,
            Action::Redraw => screen.draw(&report, &mut view)?,
            Action::None => {}
        }
    }
    drop(screen);
    session.finish()
}
