use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;

mod bounds;
mod configuration;
mod cron;
mod events;
mod scripts;
mod units;
mod upgrades;

/// The files of a node, in a folder that goes with this value.
struct Image(PathBuf);

impl Image {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("tracer-audit-{}-{name}", std::process::id()));
        fs::create_dir(&root).unwrap();
        Self(root)
    }

    fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn script(&self, path: &str, text: &str) -> &Self {
        self.file(path, text);
        fs::set_permissions(self.0.join(path), fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn link(&self, path: &str, target: &str) -> &Self {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    /// A Debian node whose apt upgrades by itself, as the packages install it.
    fn debian(name: &str) -> Self {
        let image = Self::new(name);
        image
            .file(
                "usr/lib/systemd/system/apt-daily-upgrade.timer",
                "[Timer]\nOnCalendar=*-*-* 6:00\nRandomizedDelaySec=60m\nPersistent=true\n",
            )
            .file(
                "usr/lib/systemd/system/apt-daily-upgrade.service",
                "[Service]\nType=oneshot\nExecStartPre=-/usr/lib/apt/apt-helper wait-online\n\
                 ExecStart=/usr/lib/apt/apt.systemd.daily install\nKillMode=process\nTimeoutStopSec=900\n",
            )
            .link(
                "etc/systemd/system/timers.target.wants/apt-daily-upgrade.timer",
                "/lib/systemd/system/apt-daily-upgrade.timer",
            )
            .file(
                "etc/apt/apt.conf.d/20auto-upgrades",
                "APT::Periodic::Update-Package-Lists \"1\";\nAPT::Periodic::Unattended-Upgrade \"1\";\n",
            )
            .file(
                "etc/apt/apt.conf.d/50unattended-upgrades",
                "Unattended-Upgrade::Origins-Pattern {\n\
                 //  \"origin=Debian,codename=${distro_codename}-updates\";\n\
                 \"origin=Debian,codename=${distro_codename},label=Debian\";\n};\n",
            );
        image
    }

    fn audit(&self, policy: &Policy) -> Audit {
        audit(&self.0, policy, &BTreeSet::new()).unwrap()
    }

    fn findings(&self) -> Vec<Finding> {
        self.audit(&Policy::default()).findings
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A node with a cron that is enabled.
fn with_cron(name: &str) -> Image {
    let image = Image::new(name);
    image
        .file(
            "usr/lib/systemd/system/cron.service",
            "[Service]\nExecStart=/usr/sbin/cron -f\n",
        )
        .link(
            "etc/systemd/system/multi-user.target.wants/cron.service",
            "/usr/lib/systemd/system/cron.service",
        );
    image
}
