//! What the tracer tells of a real systemd.

use std::path::Path;

use lab::world::World;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_lab"))
}

#[test]
fn boots() {
    let begin = std::time::Instant::now();
    let world = World::boot(program(), &[]).unwrap();
    eprintln!("up after {:?}", begin.elapsed());
    eprintln!(
        "{}",
        world.systemctl(&["list-units", "--all", "--no-pager"]).unwrap()
    );
    eprintln!("{} {} {}", world.bus(), world.cgroup(), world.pid().unwrap());
}
