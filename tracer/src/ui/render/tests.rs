use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::report::Band;
use crate::ui::sample;

const UTF8: Theme = Theme {
    colour: true,
    unicode: true,
};
const ASCII: Theme = Theme {
    colour: false,
    unicode: false,
};

fn draw(report: &Report, view: &mut ViewState, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| render(frame, report, view)).unwrap();
    // The backend cannot be shown where it has no columns.
    if width == 0 {
        String::new()
    } else {
        terminal.backend().to_string()
    }
}

fn picture(report: &Report, size: (u16, u16)) -> String {
    draw(report, &mut ViewState::new(UTF8), size)
}

macro_rules! snapshots {
    ($($name:ident: $report:ident, $width:literal x $height:literal;)+) => { $(
        #[test]
        fn $name() {
            insta::assert_snapshot!(picture(&sample::$report(), ($width, $height)));
        }
    )+ };
}

snapshots! {
    healthy_80x24: healthy, 80 x 24;
    healthy_200x50: healthy, 200 x 50;
    healthy_20x5: healthy, 20 x 5;
    incident_80x24: incident, 80 x 24;
    incident_200x50: incident, 200 x 50;
    incident_100x40: incident, 100 x 40;
    incident_20x5: incident, 20 x 5;
    data_path_80x24: data_path, 80 x 24;
    data_path_200x50: data_path, 200 x 50;
    data_path_20x5: data_path, 20 x 5;
    many_drops_80x24: many_drops, 80 x 24;
    many_drops_200x50: many_drops, 200 x 50;
    many_drops_20x5: many_drops, 20 x 5;
    nothing_80x24: nothing, 80 x 24;
    silent_losses_80x24: silent_losses, 80 x 24;
    silent_losses_200x50: silent_losses, 200 x 50;
    silent_losses_20x5: silent_losses, 20 x 5;
}

fn pressed(keys: &[KeyCode], report: &Report, size: (u16, u16)) -> String {
    let mut view = ViewState::new(ASCII);
    let mut picture = draw(report, &mut view, size);
    for &key in keys {
        view.key(KeyEvent::new(key, KeyModifiers::NONE));
        picture = draw(report, &mut view, size);
    }
    picture
}

#[test]
fn help_80x24() {
    insta::assert_snapshot!(pressed(&[KeyCode::Char('?')], &sample::many_drops(), (80, 24)));
}

#[test]
fn verdict_page_80x24() {
    insta::assert_snapshot!(pressed(&[KeyCode::Char('v')], &sample::incident(), (80, 24)));
}

#[test]
fn namespaces_80x24() {
    insta::assert_snapshot!(pressed(&[KeyCode::Char('n')], &sample::many_drops(), (80, 24)));
}

#[test]
fn a_page_of_namespaces_without_any_says_why() {
    let page = |watched| {
        let report = Report {
            namespaces_watched: watched,
            ..sample::healthy()
        };
        pressed(&[KeyCode::Char('n')], &report, (80, 24))
    };
    let one = page(1);
    assert!(one.contains("Only one network namespace is watched"), "{one}");
    let mut replayed = ViewState::new(UTF8);
    replayed.showing = Showing::Recording;
    replayed.key(KeyEvent::from(KeyCode::Char('n')));
    let replayed = draw(&sample::healthy(), &mut replayed, (80, 24));
    assert!(
        replayed.contains("Only one network namespace is watched."),
        "{replayed}"
    );
    let many = page(3);
    assert!(
        many.contains("3 network namespaces are watched, and no packet was counted in any."),
        "{many}"
    );
}

#[test]
fn timeline_80x24() {
    insta::assert_snapshot!(pressed(&[KeyCode::Char('t')], &sample::incident(), (80, 24)));
}

#[test]
fn timeline_200x50() {
    insta::assert_snapshot!(pressed(&[KeyCode::Char('t')], &sample::incident(), (200, 50)));
}

#[test]
fn units_80x24() {
    insta::assert_snapshot!(pressed(&[KeyCode::Char('u')], &sample::incident(), (80, 24)));
}

#[test]
fn what_has_not_ended_of_a_unit_that_has_is_said_in_words() {
    let mut report = sample::incident();
    let unit = &mut report.node.units[0];
    unit.name = "a-unit-with-a-long-name-that-upgrades.service".to_owned();
    unit.active = "failed".to_owned();
    unit.result = "signal".to_owned();
    unit.processes = 3;
    let page = pressed(&[KeyCode::Char('u')], &report, (80, 24));
    let words: Vec<&str> = page
        .split(['"', ' ', '\n'])
        .filter(|word| !word.is_empty())
        .collect();
    let said = "a-unit-with-a-long-name-that-upgrades.service (failed, result signal): 3 processes still run in its cgroup";
    assert!(words.join(" ").contains(said), "{page}");
}

#[test]
fn jobs_that_wait_are_told_and_those_that_end_the_node_first() {
    let mut report = sample::incident();
    report.node.units[0].job = "stop queued".to_owned();
    let mut end = report.node.units[0].clone();
    end.name = "reboot.target".to_owned();
    end.job = "start queued".to_owned();
    report.node.units.push(end);
    let page = pressed(&[KeyCode::Char('u')], &report, (80, 24));
    let waiting = page.lines().skip_while(|line| !line.contains("Jobs that wait"));
    let told: Vec<&str> = waiting
        .skip(1)
        .take(2)
        .map(|line| line.trim_matches(['"', ' ']))
        .collect();
    assert_eq!(
        told,
        ["reboot.target: start queued", "kubelet.service: stop queued"],
        "{page}"
    );
}

#[test]
fn quiet_bands_that_follow_one_are_counted() {
    let mut report = sample::healthy();
    report.node.bands = (0..7)
        .map(|number| Band {
            at: format!("2023-10-10T06:{}:{}0Z", 18 + number / 6, number % 6),
            arrived: 0,
            delivered: 0,
            dropped: 0,
            starved: 0,
            partial: number == 0 || number == 6,
        })
        .collect();
    let page = pressed(&[KeyCode::Char('t')], &report, (80, 24));
    let bands = page.lines().filter_map(|line| {
        let words: Vec<&str> = line.split([' ', '"']).filter(|word| !word.is_empty()).collect();
        let [at, "0", "0", "0", "0", remark] = words.as_slice() else {
            return None;
        };
        Some((*at, *remark))
    });
    assert_eq!(
        bands.collect::<Vec<_>>(),
        [("06:19:00", "part"), ("06:18:10", "+4"), ("06:18:00", "part")]
    );
}

#[test]
fn units_200x50() {
    insta::assert_snapshot!(pressed(&[KeyCode::Char('u')], &sample::incident(), (200, 50)));
}

#[test]
fn a_node_that_told_nothing_says_so() {
    for key in ['t', 'u'] {
        let page = pressed(&[KeyCode::Char(key)], &sample::healthy(), (80, 24));
        assert!(
            page.contains("Nothing changed") || page.contains("systemd has told nothing"),
            "{page}"
        );
    }
}

#[test]
fn flows_that_a_verdict_names_and_that_are_not_known_to_starve_are_no_contradiction() {
    let mut report = sample::all().into_iter().find(Report::failure_found).unwrap();
    report.starved.clear();
    report.starved_total = 0;
    let first = &mut report.verdicts[0];
    first.id = "R22".to_owned();
    first.flows_total = 6;
    assert_eq!(
        starved(&report),
        "Starved flows: none known; R22 names 6 affected"
    );
    report.verdicts[0].flows_total = 0;
    assert_eq!(starved(&report), "Starved flows: none");
}

#[test]
fn scrolled_to_the_last_drop_and_paused() {
    let keys = [KeyCode::End, KeyCode::Char('p')];
    insta::assert_snapshot!(pressed(&keys, &sample::many_drops(), (80, 24)));
}

#[test]
fn what_was_is_not_taken_for_what_is() {
    for (showing, mark) in [
        (Showing::Recording, "REPLAY  q quit"),
        (Showing::EndOfRecording, "END OF REPLAY  q quit"),
    ] {
        let mut view = ViewState::new(ASCII);
        view.showing = showing;
        for key in [KeyCode::Null, KeyCode::Char('v')] {
            view.key(KeyEvent::new(key, KeyModifiers::NONE));
            let picture = draw(&sample::incident(), &mut view, (80, 24));
            assert!(picture.contains(mark), "{picture}");
        }
        view.key(KeyEvent::new(KeyCode::Char('v'), KeyModifiers::NONE));
        for columns in [60, 76, 80] {
            let picture = draw(&sample::incident(), &mut view, (columns, 24));
            assert!(picture.contains(mark) && picture.contains("? help"), "{picture}");
        }
    }
    assert!(!picture(&sample::incident(), (80, 24)).contains("REPLAY"));
}

#[test]
fn filtered_80x24() {
    let filter = crate::filter::Filter {
        unit: Some("kubelet".to_owned()),
        ..Default::default()
    };
    insta::assert_snapshot!(picture(&filter.apply(sample::incident()), (80, 24)));
}

#[test]
fn the_verdict_word_is_first_at_every_size_and_nothing_panics() {
    for report in [sample::nothing(), sample::incident(), sample::many_drops()] {
        let word = words::place(report.place);
        for width in [0, 1, 2, 5, 20, 40, 59, 60, 74, 80, 149, 150, 200] {
            for height in [0, 1, 5, 7, 8, 17, 18, 24, 35, 36, 50] {
                let picture = pressed(&[], &report, (width, height));
                if width >= 20 && height >= 1 {
                    let first = picture.lines().next().unwrap();
                    assert!(first.contains(word), "{width}x{height}\n{picture}");
                }
                pressed(&[KeyCode::Char('v'), KeyCode::End], &report, (width, height));
                pressed(&[KeyCode::Char('n'), KeyCode::End], &report, (width, height));
                pressed(&[KeyCode::Char('?'), KeyCode::PageDown], &report, (width, height));
            }
        }
    }
}

#[test]
fn an_ascii_terminal_gets_ascii_only() {
    let mut report = sample::incident();
    report.verdicts[0].explanation = "Pakete → nirgends – «schlecht»".to_owned();
    report.starved[0].command = "日本".to_owned();
    for size in [(80, 24), (200, 50), (20, 5)] {
        assert!(draw(&report, &mut ViewState::new(ASCII), size).is_ascii());
    }
}

#[test]
fn at_80x24_the_essentials_are_on_the_screen() {
    let picture = picture(&sample::incident(), (80, 24));
    for essential in [
        "GUEST KERNEL",
        "R01",
        "since 06:14:07",
        "conclusive",
        "arrived",
        "unexplained",
        "NOT_SPECIFIED",
        "ip_forward+0x1c4",
        "kubelet[1234]",
        "kubelet.service",
        "node-7",
        "q quit",
    ] {
        assert!(picture.contains(essential), "{essential}\n{picture}");
    }
}

#[test]
fn a_monochrome_terminal_gets_no_colour() {
    use ratatui::style::Color;
    for report in sample::all() {
        for page in ['x', 'v', 'n', '?'] {
            let mut view = ViewState::new(ASCII);
            view.key(KeyEvent::new(KeyCode::Char(page), KeyModifiers::NONE));
            let mut terminal = Terminal::new(TestBackend::new(200, 50)).unwrap();
            terminal.draw(|frame| render(frame, &report, &mut view)).unwrap();
            let cells = terminal.backend().buffer().content();
            assert!(
                cells
                    .iter()
                    .all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset)
            );
        }
    }
}
