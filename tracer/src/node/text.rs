//! Files of /proc and /sys that hold names: those of processes, cgroups, places of mounts. Any bytes may be in a name.

use std::fs;
use std::io;
use std::path::Path;

/// The text of such a file. What is no UTF-8 in it is told as `\u{fffd}`, and takes nothing else along.
///
/// # Errors
/// Where it cannot be read.
pub(super) fn read(path: impl AsRef<Path>) -> io::Result<String> {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    use super::*;
    use crate::node::{held, owners};

    #[test]
    fn a_process_whose_name_is_no_text_is_known_all_the_same() {
        let folder = std::env::temp_dir().join(format!("tracer-text-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let name = std::os::unix::ffi::OsStrExt::from_bytes(b"odd\xff");
        let program = folder.join::<&std::ffi::OsStr>(name);
        // By another process: what another thread starts meanwhile would else have it open for writing (ETXTBSY).
        let copied = Command::new("cp").arg("/bin/cat").arg(&program).status();
        assert!(copied.unwrap().success());
        let mut child = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        // It has its name when it runs: it says what it is told.
        let mut byte = [b'x'];
        child.stdin.as_mut().unwrap().write_all(&byte).unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        assert_eq!(owners::command(pid).as_deref(), Some("odd\u{fffd}"));
        assert_eq!(owners::numbers(pid).first(), Some(&pid));
        assert!(
            read(format!("/proc/{pid}/stat"))
                .unwrap()
                .contains("(odd\u{fffd})")
        );
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&child),
            rustix::process::Signal::STOP,
        )
        .unwrap();
        while held::held(pid).is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        fs::remove_dir_all(folder).unwrap();
    }
}
