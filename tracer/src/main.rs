//! The command line.
use tracer::event::*;
use tracer::probe::*;
struct N;
impl tracer::probe::Owners for N {
    fn by_pid(&mut self, pid: u32, command: &str) -> Option<Owner> {
        Some(Owner {
            pid,
            command: command.into(),
            cgroup: String::new(),
            unit: String::new(),
        })
    }
    fn by_socket(&mut self, _i: u64, _c: u64) -> Option<Owner> {
        None
    }
}
fn main() {
    let t = std::time::Instant::now();
    let netns = std::env::args().nth(1).map(|a| a.parse().unwrap());
    let secs: u64 = std::env::args().nth(2).map(|a| a.parse().unwrap()).unwrap_or(3);
    let mut p = match Probe::attach(&Options {
        netns,
        examples_per_second: 10,
        verbose: true,
        without: vec![],
        floor: true,
    }) {
        Ok(p) => p,
        Err(e) => {
            println!("{e}");
            return;
        }
    };
    println!("attach {:?}", t.elapsed());
    for c in p.capabilities() {
        println!("{c:?}");
    }
    let m = tracer::probe::cost::Meter::start(&p).unwrap();
    for i in 0..secs * 2 {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let t = std::time::Instant::now();
        let mut n = 0;
        p.poll(i, &mut N, &mut |e| {
            n += 1;
            println!("{}", serde_json::to_string(&e.body).unwrap())
        })
        .unwrap();
        p.flush_log();
        println!("--- {n} events {:?}", t.elapsed());
    }
    for c in m.read(&p) {
        println!("{c:?}");
    }
}
