//! Words of a shell's command line, for commands that are there to be copied. Pure.

use std::borrow::Cow;

/// The text as one word of a command line. Names of devices, namespaces, units and files are chosen by others.
pub(crate) fn quoted(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+=.,:/@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    if !text.chars().any(char::is_control) {
        return Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")));
    }
    let mut word = "$'".to_owned();
    for c in text.chars() {
        match c {
            '\'' | '\\' => word.extend(['\\', c]),
            c if c.is_ascii_control() => word += &format!("\\{:03o}", u32::from(c)),
            c => word.push(c),
        }
    }
    Cow::Owned(word + "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_plainly_safe_is_one_quoted_word() {
        for (text, expected) in [
            ("web.service", "web.service"),
            ("/run/netns/blue", "/run/netns/blue"),
            ("", "''"),
            ("a b", "'a b'"),
            ("$(reboot)", "'$(reboot)'"),
            ("it's;", r"'it'\''s;'"),
            (r"dev-disk-by\x2duuid.swap", r"'dev-disk-by\x2duuid.swap'"),
            ("~", "'~'"),
            ("a\nb'\\", r"$'a\012b\'\\'"),
            ("\u{1b}[2J", r"$'\033[2J'"),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn the_shell_reads_back_what_was_quoted() {
        for text in [
            "a b",
            "$(reboot)",
            "it's; `x` \"y\" \\",
            "*?[a]",
            "a\nb'\\\t\u{1b}",
            "é",
        ] {
            let shell = std::process::Command::new("bash")
                .args(["-c", &format!("printf %s {}", quoted(text))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(shell.stdout).unwrap(), text);
        }
    }
}
