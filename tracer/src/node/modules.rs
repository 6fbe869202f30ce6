//! Modules of the kernel. It loads one by itself when somebody asks it a question; the tracer changes nothing on the
//! node, and so asks only where none has to be loaded.

use std::fs;

/// Visits between two looks at whether a module has been loaded meanwhile.
const VISITS_PER_LOOK: u32 = 16;

/// A module that is asked at each visit of a namespace.
#[derive(Debug)]
pub(super) struct Module {
    name: &'static str,
    visits: u32,
    is_loaded: bool,
}

impl Module {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            visits: 0,
            is_loaded: false,
        }
    }

    /// One more visit: whether it may be asked.
    pub(super) fn visit(&mut self) -> bool {
        if self.visits.is_multiple_of(VISITS_PER_LOOK) {
            self.is_loaded = is_loaded(self.name);
        }
        self.visits = self.visits.wrapping_add(1);
        self.is_loaded
    }

    /// What the last visit was told.
    pub(super) fn is_loaded(&self) -> bool {
        self.is_loaded
    }
}

/// Whether a question to this module makes the kernel load nothing.
pub(super) fn is_loaded(module: &str) -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let read = |path: &str| fs::read_to_string(path).ok();
    needs_no_loading(
        module,
        read("/proc/modules").as_deref(),
        read(&format!("/lib/modules/{release}/modules.builtin")).as_deref(),
        read("/proc/sys/kernel/modules_disabled").as_deref(),
    )
}

/// Whether the running kernel can load modules at all.
pub(super) fn can_load() -> bool {
    let read = |path: &str| fs::read_to_string(path).ok();
    loads(
        read("/proc/modules").as_deref(),
        read("/proc/sys/kernel/modules_disabled").as_deref(),
    )
}

/// Without the list of those that are loaded the kernel knows no modules at all.
fn loads(loaded: Option<&str>, disabled: Option<&str>) -> bool {
    loaded.is_some() && disabled.is_none_or(|flag| flag.trim() != "1")
}

/// `None` for a file that is not there.
fn needs_no_loading(
    module: &str,
    loaded: Option<&str>,
    builtin: Option<&str>,
    disabled: Option<&str>,
) -> bool {
    let lists = |list: &str| list.lines().any(|line| line.split(' ').next() == Some(module));
    !loads(loaded, disabled)
        || loaded.is_some_and(lists)
        || builtin.is_some_and(|list| {
            list.lines()
                .any(|path| path.rsplit('/').next().and_then(|file| file.strip_suffix(".ko")) == Some(module))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_loads_modules_where_it_knows_them_and_nobody_has_forbidden_it() {
        assert!(loads(Some(""), Some("0\n")) && loads(Some("udp_diag 16384 0\n"), None));
        assert!(!loads(Some(""), Some("1\n")) && !loads(None, None));
    }

    #[test]
    fn no_module_is_loaded_by_asking() {
        let loaded = "udp_diag 16384 0 - Live 0x0000000000000000\ninet_diag 24576 1 udp_diag, Live 0x0\n";
        let builtin = "kernel/net/ipv4/raw_diag.ko\nkernel/fs/ext4/ext4.ko\n";
        for (module, expected) in [
            ("udp_diag", true),
            ("raw_diag", true),
            ("tcp_diag", false),
            ("diag", false),
            ("udp", false),
        ] {
            assert_eq!(
                needs_no_loading(module, Some(loaded), Some(builtin), Some("0\n")),
                expected,
                "{module}"
            );
        }
        assert!(
            needs_no_loading("tcp_diag", Some(loaded), None, Some("1\n")),
            "nothing can be loaded any more"
        );
        assert!(
            needs_no_loading("tcp_diag", None, None, None),
            "a kernel without modules"
        );
        assert!(!needs_no_loading("tcp_diag", Some(""), None, None));
    }
}
