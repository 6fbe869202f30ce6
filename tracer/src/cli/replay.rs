//! `tracer replay`: a recording on the same faces, through the same model.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use ratatui::crossterm::event::Event as Input;

use super::ShowArgs;
use super::blocks::Due;
use super::output::{Reader, print, reader, say_of};
use super::stop::Stop;
use crate::diagnosis::Diagnosis;
use crate::event::{Body, Event};
use crate::report::Report;
use crate::trace;
use crate::ui::keys;
use crate::ui::plain::Blocks;
use crate::ui::screen::Screen;
use crate::ui::theme::Theme;
use crate::ui::view::{Action, Showing, ViewState};

/// A gap in the recording is not waited out.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The recording
    file: PathBuf,
    /// How many times faster than it happened (on the screen)
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    speed: f64,
}

pub(super) async fn run(show: &ShowArgs, arguments: &Arguments) -> Result<ExitCode> {
    if !(arguments.speed > 0.0 && arguments.speed.is_finite()) {
        bail!(
            "--speed {}: a speed is greater than 0; leave it out for 1",
            arguments.speed
        );
    }
    let recording = Recording {
        reader: trace::Reader::open(&arguments.file)?,
        next: None,
        diagnosis: Diagnosis::new(),
    };
    if show.plain || !std::io::stdout().is_terminal() {
        plain(recording, show)?;
    } else {
        screen(recording, show, arguments.speed).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How long to wait for what came after this gap. A speed may be anything greater than 0.
fn wait(gap: Duration, speed: f64) -> Duration {
    Duration::try_from_secs_f64(gap.as_secs_f64() / speed).map_or(LONGEST_WAIT, |wait| wait.min(LONGEST_WAIT))
}

struct Recording {
    reader: trace::Reader,
    /// Read, but of the round to come.
    next: Option<Event>,
    diagnosis: Diagnosis,
}

impl Recording {
    /// Applies the events of a round, and says when it was (boot time in ns); `None` at the end.
    fn round(&mut self) -> Result<Option<u64>> {
        while let Some(event) = self.read()? {
            self.diagnosis.apply(&event);
            if matches!(event.body, Body::Tick) {
                self.close(event.at)?;
                return Ok(Some(event.at));
            }
        }
        Ok(None)
    }

    /// A live session says what comes of a round before that is shown, and at its very time.
    fn close(&mut self, at: u64) -> Result<()> {
        let comes_of_it =
            |event: &Event| event.at == at && matches!(event.body, Body::Baseline | Body::Capability(_));
        while let Some(event) = self.read()? {
            if !comes_of_it(&event) {
                self.next = Some(event);
                break;
            }
            self.diagnosis.apply(&event);
        }
        Ok(())
    }

    fn read(&mut self) -> Result<Option<Event>> {
        match self.next.take() {
            Some(event) => Ok(Some(event)),
            None => Ok(self.reader.next().transpose()?),
        }
    }
}

/// The blocks that were shown live, or would have been: of the same rounds.
fn plain(mut recording: Recording, show: &ShowArgs) -> Result<()> {
    let filter = show.filter();
    let mut blocks = Blocks::default();
    let (mut due, mut is_empty) = (Due::default(), true);
    // Shown only once another round has come: the last one is told once, as it stands at the end.
    let mut held: Option<Report> = None;
    while recording.round()?.is_some() {
        if let Some(before) = held.take()
            && print(&blocks.next(&before))? == Reader::Gone
        {
            return Ok(());
        }
        is_empty = false;
        held = due
            .is_now(&recording.diagnosis)
            .then(|| filter.report(&recording.diagnosis));
    }
    if !is_empty {
        print(&blocks.next(&filter.report(&recording.diagnosis)))?;
    }
    say_of(&recording.reader);
    Ok(())
}

async fn screen(mut recording: Recording, show: &ShowArgs, speed: f64) -> Result<()> {
    let filter = show.filter();
    let mut stop = Stop::listen()?;
    let Some(mut at) = recording.round()? else {
        bail!(
            "{}: the recording has not one whole round to show",
            recording.reader.path().display()
        );
    };
    let mut view = ViewState::new(Theme::detect(show.ascii));
    view.showing = Showing::Recording;
    let mut screen = Screen::enter()?;
    let mut inputs = keys::spawn()?;
    let mut report = filter.report(&recording.diagnosis);
    reader(screen.draw(&report, &mut view))?;
    let mut due = None;
    let mut next = recording.round()?;
    loop {
        // The next round is due as long after this one as it was then. At the end the last one stays.
        if due.is_none()
            && let Some(next) = next
        {
            let gap = Duration::from_nanos(next.saturating_sub(at));
            due = Some(tokio::time::Instant::now() + wait(gap, speed));
        }
        let rest = async {
            match due {
                Some(due) if !view.paused() => tokio::time::sleep_until(due).await,
                _ => std::future::pending().await,
            }
        };
        let action = tokio::select! {
            biased;
            _ = stop.asked() => Action::Quit,
            input = inputs.recv() => match input {
                Some(Input::Key(key)) => view.key(key),
                Some(Input::Resize(..)) => Action::Redraw,
                Some(_) => Action::None,
                None => Action::Quit,
            },
            () = rest => {
                report = filter.report(&recording.diagnosis);
                due = None;
                if let Some(reached) = next {
                    at = reached;
                    next = recording.round()?;
                }
                if next.is_none() {
                    view.showing = Showing::EndOfRecording;
                }
                Action::Redraw
            }
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
    say_of(&recording.reader);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_speed_has_its_wait() {
        let round = Duration::from_millis(500);
        assert_eq!(wait(round, 1.0), round);
        assert_eq!(wait(round, 2.0), Duration::from_millis(250));
        assert_eq!(wait(round, 0.1), LONGEST_WAIT, "a gap is not waited out");
        for slow in [1e-30, f64::MIN_POSITIVE] {
            assert_eq!(wait(round, slow), LONGEST_WAIT, "{slow}");
        }
        assert_eq!(wait(round, f64::MAX), Duration::ZERO);
        assert_eq!(wait(Duration::ZERO, 1e-30), Duration::ZERO);
        assert_eq!(wait(Duration::from_nanos(u64::MAX), 1e-300), LONGEST_WAIT);
    }
}
