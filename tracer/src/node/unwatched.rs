//! Why something cannot be watched by inotify, and what helps against that.

use std::io;

use rustix::io::Errno;

/// What cannot be watched, the error, and the remedy (inotify_init(2), inotify_add_watch(2)).
pub(super) fn why(what: &str, error: Errno) -> String {
    let remedy = match error {
        Errno::NOSPC => "; raise fs.inotify.max_user_watches",
        Errno::MFILE => "; raise fs.inotify.max_user_instances, or the limit on open files (ulimit -n)",
        Errno::NFILE => "; raise fs.file-max",
        Errno::ACCESS | Errno::PERM => "; run tracer as root",
        Errno::LOOP | Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => {
            "; see where that path leads (namei -l)"
        }
        _ => "",
    };
    let error = io::Error::from(error);
    format!("{what}: {error}{remedy}")
}
