//! Who changes something is known, however short-lived the process is.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::fs;
use std::io::{BufRead, BufReader, Lines, Read};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use lab::lab::{Lab, PATIENCE};
use lab::process::send;
use lab::scenario::Place;
use lab::tracer::{finish, on_node};

/// Nothing of the process runs any more.
fn wait_until_it_is_stopped(pid: u32) {
    let is_stopped = || {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        threads.flatten().all(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap();
            stat.rsplit_once(") ").unwrap().1.starts_with('T')
        })
    };
    let begin = Instant::now();
    while !is_stopped() {
        assert!(begin.elapsed() < PATIENCE, "process {pid} does not stop");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Lines of the tracer.
struct Told<R>(Lines<BufReader<R>>);

impl<R: Read> Told<R> {
    /// Lines that are waited for: minutes.
    const MOST: usize = 300;

    /// The next line with this in it. `meanwhile` is done for each other one.
    fn until(&mut self, what: &str, meanwhile: &mut dyn FnMut(usize)) -> String {
        let mut others = Vec::new();
        for line in self.0.by_ref().take(Self::MOST) {
            let line = line.unwrap();
            if line.contains(what) {
                return line;
            }
            meanwhile(others.len());
            others.push(line);
        }
        panic!("{what} is not told: {others:#?}");
    }
}

/// The tracer stands still while the changes are made: when it goes on, those who made them have ended.
#[test]
fn who_has_ended_before_it_could_be_asked_is_known() {
    let lab = Lab::build(Path::new(env!("CARGO_BIN_EXE_lab"))).unwrap();
    let node = lab.netns(Place::Node);
    let mut child = on_node(&lab, &["--plain"]).unwrap().spawn().unwrap();
    let mut told = Told(BufReader::new(child.stdout.take().unwrap()).lines());
    // What is there when it starts is no change. It tells something each second.
    told.until("rule 1", &mut |number| {
        node.ip(&format!("rule add pref {} blackhole", 1000 + number))
            .unwrap();
    });
    send(child.id(), libc::SIGSTOP).unwrap();
    wait_until_it_is_stopped(child.id());
    node.ip("rule add pref 7 blackhole").unwrap();
    node.nft("add table inet filter").unwrap();
    send(child.id(), libc::SIGCONT).unwrap();
    let own = fs::read_to_string("/proc/self/comm").unwrap();
    let parent = format!("(child of {}[{}])", own.trim_end(), std::process::id());
    for (change, command) in [("rule 7:", "by ip["), ("nf_tables", "by nft[")] {
        // A line is wrapped.
        let line = told.until(change, &mut |_| {}) + &told.0.next().unwrap().unwrap().replacen(' ', "", 1);
        let rest = line.split_once(command).map(|(_, rest)| rest);
        assert!(
            rest.is_some_and(|rest| rest.contains(&parent)),
            "{parent}: {line}"
        );
    }
    send(child.id(), libc::SIGTERM).unwrap();
    finish(&mut child).unwrap();
}
