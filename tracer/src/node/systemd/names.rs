//! Names of units, and of the objects on the bus that stand for them.

/// Where units are on the bus.
const UNITS: &str = "/org/freedesktop/systemd1/unit/";

/// Kinds of units of which something is told, by the ends of their names: see [`Kind`].
pub(super) const TOLD: [&str; 9] = [
    "automount",
    "mount",
    "path",
    "scope",
    "service",
    "socket",
    "swap",
    "target",
    "timer",
];

/// How much of a unit is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// All that is told of it.
    Full,
    /// It is told as a timer.
    Timer,
    /// Its state and its run where it rests, else all: there are many of them, and on its way one has a limit.
    Limited,
    /// Its state, its run and how it failed.
    Brief,
    /// Nothing: there are many of them, and they do nothing.
    Skipped,
}

impl Kind {
    /// By the suffix of its name.
    pub(super) fn of(name: &str) -> Self {
        match name.rsplit_once('.') {
            Some((_, "service" | "scope")) => Self::Full,
            Some((_, "timer")) => Self::Timer,
            Some((_, "mount" | "socket" | "swap")) => Self::Limited,
            Some((_, "device" | "slice")) | None => Self::Skipped,
            Some(_) => Self::Brief,
        }
    }
}

/// The unit that an object stands for: systemd writes every byte but letters and digits as `_2e` (src/basic/
/// bus-label.c). `None` for another object, and for a name that is no text.
pub(super) fn of_object(path: &str) -> Option<String> {
    unescape(path.strip_prefix(UNITS)?, b'_')
}

/// Undoes a mark and two hex digits that stand for a byte. `None` for what is no text, or nothing.
pub(super) fn unescape(text: &str, mark: u8) -> Option<String> {
    let digit = |digits: &[u8], at: usize| char::from(*digits.get(at)?).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == mark {
            let code = digit(after, 0)? * 16 + digit(after, 1)?;
            bytes.push(u8::try_from(code).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named() {
        let name = |label: &str| of_object(&format!("{UNITS}{label}"));
        let is = |name: &str| Some(name.to_owned());
        assert_eq!(
            name("apt_2ddaily_2dupgrade_2eservice"),
            is("apt-daily-upgrade.service")
        );
        assert_eq!(name("_31st_2eservice"), is("1st.service"));
        assert_eq!(name("a_5cx2db_2emount"), is("a\\x2db.mount"));
        assert_eq!(name("h_c3_a9_2eservice"), is("h\u{e9}.service"));
        for broken in ["", "_", "a_2", "a_zz", "a_ff_2eservice", "a_+1"] {
            assert_eq!(name(broken), None, "{broken}");
        }
        assert_eq!(of_object("/org/freedesktop/systemd1/job/7"), None);
    }

    #[test]
    fn what_is_read_goes_by_the_kind() {
        for (name, kind) in [
            ("kubelet.service", Kind::Full),
            ("cri-containerd-1.scope", Kind::Full),
            ("apt-daily.timer", Kind::Timer),
            ("dbus.socket", Kind::Limited),
            ("var-lib-kubelet.mount", Kind::Limited),
            ("proc-sys.automount", Kind::Brief),
            ("multi-user.target", Kind::Brief),
            ("system.slice", Kind::Skipped),
            ("dev-vda.device", Kind::Skipped),
            ("nonsense", Kind::Skipped),
        ] {
            assert_eq!(Kind::of(name), kind, "{name}");
            let is_told = TOLD.iter().any(|end| name.ends_with(&format!(".{end}")));
            assert_eq!(is_told, kind != Kind::Skipped, "{name}");
        }
    }
}
