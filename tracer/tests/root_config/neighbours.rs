//! Neighbours that are set by hand, and those for which the node answers.

use tracer::event::Seen;

use super::{Listening, with_address};

#[test]
fn a_neighbour_that_is_no_longer_permanent_is_not_gone() {
    let named = with_address();
    let mut listening = Listening::to(&named);
    for (address, lladdr) in [
        ("10.99.0.9", "02:00:00:00:00:09"),
        ("2001:db8::9", "02:00:00:00:00:09"),
    ] {
        let neighbour = format!("neighbour {address} on up0");
        named.ip(&format!("neigh add {address} lladdr {lladdr} dev up0"));
        assert_eq!(
            listening.value_of(&neighbour),
            Some(format!("lladdr {lladdr} PERMANENT"))
        );
        let asker = named.asks(&format!(
            "neigh replace {address} lladdr {lladdr} dev up0 nud stale"
        ));
        let (_, changed) = listening.change_of(&neighbour);
        assert_eq!(changed.value, Some(format!("lladdr {lladdr}")));
        assert_eq!(changed.seen, Seen::Told);
        asker.made(&changed);
        // Not when all is read again either: what is told next of it is what becomes of it next.
        named.ip("link add other0 type veth peer name other1");
        named.ip("link set other0 name another0");
        named.ip("link del another0");
        let other = "02:00:00:00:00:08";
        named.ip(&format!(
            "neigh replace {address} lladdr {other} dev up0 nud reachable"
        ));
        assert_eq!(listening.value_of(&neighbour), Some(format!("lladdr {other}")));
        let asker = named.asks(&format!("neigh del {address} dev up0"));
        let (_, gone) = listening.change_of(&neighbour);
        assert_eq!(gone.value, None);
        asker.made(&gone);
    }
}

#[test]
fn for_whom_the_node_answers_is_told() {
    let named = with_address();
    named.ip("neigh add proxy 10.99.0.70 dev up0");
    let mut listening = Listening::to(&named);
    let found = listening.has_found("proxy neighbour 10.99.0.70 on up0");
    assert_eq!(found, Some(""));
    for address in ["10.99.0.77", "2001:db8::77"] {
        let proxy = format!("proxy neighbour {address} on up0");
        named.ip(&format!("neigh add proxy {address} dev up0"));
        let (_, new) = listening.change_of(&proxy);
        // The kernel does not tell of them.
        assert_eq!((new.value.as_deref(), new.seen), (Some(""), Seen::Noticed));
        named.ip(&format!("neigh del proxy {address} dev up0"));
        assert_eq!(listening.value_of(&proxy), None);
    }
}
