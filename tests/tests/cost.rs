//! What the tracer's own programs cost.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::path::Path;

use lab::lab::Lab;
use lab::scenario;
use lab::tracer::{Ended, command, on_node, run};
use serde_json::Value;

fn measured(ended: &Ended) -> Value {
    assert!(ended.status.success(), "{}", ended.stderr);
    assert_eq!(ended.stderr, "");
    ended.report().unwrap()
}

/// Each program that packets run is told, beside an empty one that runs as often as packets arrive; and the empty one
/// alone is attached at as many places.
#[test]
fn each_program_is_measured_beside_an_empty_one() {
    let program = Path::new(env!("CARGO_BIN_EXE_lab"));
    let lab = Lab::of(scenario::find("no-socket").unwrap(), program).unwrap();
    let mut cost = on_node(&lab, &["cost", "--for", "1s", "--format", "json"]).unwrap();
    let cost = measured(&run(&mut cost, |_| Ok(())).unwrap());
    let programs = cost["programs"].as_array().unwrap();
    for name in ["arrival", "drop", "sent", "floor"] {
        let one = programs.iter().find(|one| one["name"] == name).unwrap();
        assert!(one["runs"].as_u64() > Some(0), "{one}");
        assert!(one["ns_per_run"].as_f64() > Some(0.0), "{one}");
    }

    let mut floor = command(&["cost", "--floor", "--for", "100ms", "--format", "json"]).unwrap();
    let floor = measured(&run(&mut floor, |_| Ok(())).unwrap());
    let own = programs.iter().filter(|one| one["name"] != "floor").count();
    assert_eq!(floor["places"], own, "{cost}");
}
