//! What goes with keys that are asked for in their order. There may be very many of both: each is gone through once, where to look
//! them up one by one takes several times as long.

use crate::event::FlowKey;

/// Finds what goes with a key, among all that is kept in the order of keys. Each key is asked for once, behind those before it.
pub(super) fn in_turn<'a, T>(
    all: impl Iterator<Item = (&'a FlowKey, T)>,
) -> impl FnMut(&FlowKey) -> Option<T> {
    let mut all = all.peekable();
    move |key| {
        let mut its = all.next_if(|(known, _)| *known == key);
        // What was not asked for is passed over.
        while its.is_none() && all.next_if(|(known, _)| *known < key).is_some() {
            its = all.next_if(|(known, _)| *known == key);
        }
        its.map(|(_, found)| found)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::event::Protocol;

    #[test]
    fn what_is_not_there_or_not_asked_for_is_passed_over() {
        let keys = [1, 2, 3, 4, 5, 6].map(|port| FlowKey {
            netns: 1,
            protocol: Protocol::Tcp,
            local: IpAddr::from([10, 0, 0, 1]),
            local_port: 80,
            remote: IpAddr::from([10, 0, 0, 2]),
            remote_port: port,
        });
        let kept = [1, 3, 4, 5].map(|place: usize| (&keys[place], place));
        let mut found = in_turn(kept.into_iter());
        let asked = [0, 1, 2, 4, 5].map(|place: usize| found(&keys[place]));
        assert_eq!(asked, [None, Some(1), None, Some(4), Some(5)]);
    }
}
