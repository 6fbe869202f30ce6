//! Deletes a policy of IPsec.

/// By the text of one that stands: `out, from 10.0.0.0/24 to any proto 6 dport 80 mark 0x1/0xff priority 100`. `None` where it is
/// none.
pub(super) fn delete(text: &str) -> Option<String> {
    let (direction, selector) = text.split_once(", ")?;
    let mut words = vec!["ip xfrm policy delete dir".to_owned(), direction.to_owned()];
    let any = if selector.contains("(IPv6)") || selector.contains(':') {
        "::/0"
    } else {
        "0.0.0.0/0"
    };
    let mut rest = selector.split(' ');
    while let Some(word) = rest.next() {
        let mut add = |name: &str| {
            let value = rest.next()?;
            let value = if value == "any" { any } else { value };
            words.push(format!("{name} {value}"));
            Some(())
        };
        match word {
            "from" => add("src")?,
            "to" => add("dst")?,
            "proto" | "sport" | "dport" | "if_id" => add(word)?,
            "mark" => {
                let (mark, mask) = rest.next()?.split_once('/')?;
                words.push(format!("mark {mark} mask {mask}"));
            }
            // Another one with the same selector has another priority, and is not told apart by `ip`.
            "priority" => {
                rest.next()?;
            }
            "(IPv4)" | "(IPv6)" => {}
            _ => return None,
        }
    }
    Some(words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::delete;

    #[test]
    fn a_policy_is_deleted_by_what_it_is_for() {
        for (text, command) in [
            (
                "in, from 192.0.2.10 to 10.10.0.2 priority 0",
                "ip xfrm policy delete dir in src 192.0.2.10 dst 10.10.0.2",
            ),
            (
                "out, from 10.0.0.0/24 to any proto 6 dport 80 mark 0x1/0xff priority 100",
                "ip xfrm policy delete dir out src 10.0.0.0/24 dst 0.0.0.0/0 proto 6 dport 80 mark 0x1 mask 0xff",
            ),
            (
                "fwd, from any to any (IPv6) if_id 0x2 priority 1",
                "ip xfrm policy delete dir fwd src ::/0 dst ::/0 if_id 0x2",
            ),
        ] {
            assert_eq!(delete(text).as_deref(), Some(command), "{text}");
        }
        assert_eq!(delete("esp 10.0.0.1 -> 10.0.0.2 spi 1"), None);
        assert_eq!(delete("out, from 10.0.0.1 by whom"), None);
    }
}
