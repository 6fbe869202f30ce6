//! The live screen on a terminal.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::io::Read;
use std::num::NonZeroU16;
use std::path::Path;
use std::process::Child;

use lab::lab::{Lab, PATIENCE};
use lab::scenario;
use lab::terminal::{Settings, Terminal, wait_for_end};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lab");

fn size(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

/// A tracer on a terminal.
struct Live {
    lab: Lab,
    terminal: Terminal,
    before: Settings,
    child: Child,
}

impl Live {
    fn start(scenario: &str, rows: u16, columns: u16) -> Self {
        let scenario = scenario::find(scenario).unwrap();
        let lab = Lab::of(scenario, Path::new(PROGRAM)).unwrap();
        let terminal = Terminal::open(size(rows), size(columns)).unwrap();
        let before = terminal.settings().unwrap();
        let command = std::process::Command::new(lab::tracer::binary().unwrap());
        let child = terminal.spawn(&mut lab::tracer::watching(command, &lab)).unwrap();
        let live = Self {
            lab,
            terminal,
            before,
            child,
        };
        live.wait_for("live screen", |screen| screen.alternate_screen());
        live
    }

    fn wait_for(&self, what: &str, wanted: impl Fn(&vt100::Screen) -> bool) {
        self.terminal.wait_for(what, PATIENCE, wanted).unwrap();
    }

    /// The terminal is as it was before the tracer, and the tracer ended by itself.
    fn assert_restored(mut self) {
        let status = wait_for_end(&mut self.child, PATIENCE).unwrap();
        self.wait_for("screen as before", |screen| {
            !screen.alternate_screen() && !screen.hide_cursor()
        });
        assert_eq!(self.terminal.settings().unwrap(), self.before);
        let written = self.terminal.written();
        assert!(
            status.code().is_some() && !written.contains("panicked"),
            "{status}: {written}"
        );
    }
}

#[test]
fn the_incident_is_on_the_screen_and_q_restores_the_terminal() {
    let mut live = Live::start("local-rule-lost", 24, 80);
    live.wait_for("arrivals", |screen| {
        screen.contents().to_lowercase().contains("arrived")
    });
    assert!(!live.terminal.look(|screen| screen.contents().contains("R01")));
    live.lab
        .apply(scenario::find("local-rule-lost").unwrap().break_it)
        .unwrap();
    live.wait_for("verdict", |screen| screen.contents().contains("R01"));
    live.wait_for("drop and victim", |screen| {
        let text = screen.contents();
        text.contains("ip_forward") && text.contains("lab-client")
    });
    live.terminal.type_in("q").unwrap();
    live.assert_restored();
}

#[test]
fn it_fills_a_large_terminal() {
    let mut live = Live::start("healthy", 50, 200);
    live.wait_for("text far to the right", |screen| {
        screen.rows(150, 50).any(|row| !row.trim().is_empty())
    });
    live.terminal.type_in("q").unwrap();
    live.assert_restored();
}

#[test]
fn a_tiny_terminal_and_changes_of_its_size_do_no_harm() {
    let mut live = Live::start("no-socket", 5, 20);
    live.wait_for("any text", |screen| !screen.contents().trim().is_empty());
    for (rows, columns) in [(1, 1), (24, 80), (5, 20), (2, 200), (50, 3), (24, 80)] {
        live.terminal.resize(size(rows), size(columns)).unwrap();
    }
    live.wait_for("ledger", |screen| {
        screen.contents().to_lowercase().contains("arrived")
    });
    live.terminal.type_in("q").unwrap();
    live.assert_restored();
}

/// A key that follows a change of the size is not lost with it.
#[test]
fn a_key_after_a_change_of_the_size_counts() {
    let mut live = Live::start("no-socket", 24, 80);
    live.terminal.type_in("p").unwrap();
    live.wait_for("pause", |screen| screen.contents().contains("PAUSED"));
    live.terminal.resize(size(30), size(100)).unwrap();
    live.wait_for("new size", |screen| {
        screen.rows(99, 1).any(|row| !row.trim().is_empty())
    });
    live.terminal.type_in("q").unwrap();
    live.assert_restored();
}

#[test]
fn signals_restore_the_terminal() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let live = Live::start("no-socket", 24, 80);
        lab::process::send(live.child.id(), signal).unwrap();
        live.assert_restored();
    }
}

#[test]
fn ctrl_c_restores_the_terminal() {
    let mut live = Live::start("no-socket", 24, 80);
    live.terminal.type_in("\x03").unwrap();
    live.assert_restored();
}

/// Set for the process that [`a_panic_restores_the_terminal`] starts of itself.
const PANIC: &str = "LAB_PANIC_ON_THE_SCREEN";

/// Takes the terminal over, and panics when a key is pressed.
fn panic_on_the_screen() {
    let _screen = tracer::ui::screen::Screen::enter().unwrap();
    let thread = std::thread::spawn(|| {
        std::io::stdin().read_exact(&mut [0]).unwrap();
        panic!("a fault in the tracer");
    });
    thread.join().unwrap();
}

#[test]
fn a_panic_restores_the_terminal() {
    if std::env::var_os(PANIC).is_some() {
        return panic_on_the_screen();
    }
    let mut terminal = Terminal::open(size(24), size(80)).unwrap();
    let before = terminal.settings().unwrap();
    let mut itself = std::process::Command::new(std::env::current_exe().unwrap());
    itself
        .args(["--exact", "a_panic_restores_the_terminal", "--nocapture"])
        .env(PANIC, "1")
        // What went wrong is to stay on the screen.
        .env("RUST_BACKTRACE", "0");
    let mut child = terminal.spawn(&mut itself).unwrap();
    let taken = |screen: &vt100::Screen| screen.alternate_screen() && screen.hide_cursor();
    terminal.wait_for("screen taken over", PATIENCE, taken).unwrap();
    assert_ne!(terminal.settings().unwrap(), before);
    terminal.type_in("x").unwrap();
    assert_eq!(wait_for_end(&mut child, PATIENCE).unwrap().code(), Some(101));
    let given_back = |screen: &vt100::Screen| !screen.alternate_screen() && !screen.hide_cursor();
    terminal
        .wait_for("screen as before", PATIENCE, given_back)
        .unwrap();
    assert_eq!(terminal.settings().unwrap(), before);
    // And not before the screen was gone, where nobody would have seen it.
    let said = |screen: &vt100::Screen| screen.contents().contains("a fault in the tracer");
    terminal.wait_for("what went wrong", PATIENCE, said).unwrap();
}

/// A connection broke, or a window was closed: nobody is left to be told, and nothing goes wrong over that.
/// `ready` waits until the tracer is at work.
fn assert_a_hang_up_ends(args: &[&str], ready: impl Fn(&mut Child, &Terminal)) {
    let lab = Lab::of(scenario::find("no-socket").unwrap(), Path::new(PROGRAM)).unwrap();
    let terminal = Terminal::open(size(24), size(80)).unwrap();
    let mut command = std::process::Command::new(lab::tracer::binary().unwrap());
    command.args(args);
    let mut child = terminal.spawn(&mut lab::tracer::watching(command, &lab)).unwrap();
    ready(&mut child, &terminal);
    terminal.hang_up().unwrap();
    let status = wait_for_end(&mut child, PATIENCE).unwrap();
    // A diagnosis may have found something, or not have seen enough yet; a panic would be 101.
    assert!(matches!(status.code(), Some(0..=2)), "{status}");
}

fn shows_something(terminal: &Terminal) {
    let any = |screen: &vt100::Screen| !screen.contents().trim().is_empty();
    terminal.wait_for("any text", PATIENCE, any).unwrap();
}

#[test]
fn a_hang_up_ends_the_screen() {
    assert_a_hang_up_ends(&[], |_, terminal| shows_something(terminal));
}

#[test]
fn a_hang_up_ends_plain_text() {
    assert_a_hang_up_ends(&["--plain"], |_, terminal| shows_something(terminal));
}

#[test]
fn a_hang_up_ends_a_diagnosis() {
    assert_a_hang_up_ends(&["diagnose", "--for", "100s"], |child, _| {
        lab::tracer::wait_until_it_watches(child).unwrap();
    });
}
