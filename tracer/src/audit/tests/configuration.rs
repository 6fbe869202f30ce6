use super::*;

#[test]
fn networkd_that_deletes_what_others_made_is_a_trap() {
    let image = Image::new("networkd");
    image
        .file(
            "usr/lib/systemd/system/systemd-networkd.service",
            "[Service]\nExecStart=!!/lib/systemd/systemd-networkd\n",
        )
        .link(
            "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
            "/lib/systemd/system/systemd-networkd.service",
        )
        .file("etc/cni/net.d/10-bridge.conf", "{}");
    let [finding] = &image.findings()[..] else {
        panic!("{:?}", image.findings())
    };
    assert_eq!(finding.traps, [Trap::ForeignRules, Trap::ContainerNetwork]);
    image.file(
        "etc/systemd/networkd.conf.d/keep.conf",
        "[Network]\nManageForeignRoutingPolicyRules=no\nManageForeignRoutes=no\n",
    );
    assert_eq!(image.findings(), []);
    for (key, trap) in [
        ("ManageForeignRoutingPolicyRules", Trap::ForeignRoutes),
        ("ManageForeignRoutes", Trap::ForeignPolicyRules),
    ] {
        image.file(
            "etc/systemd/networkd.conf.d/keep.conf",
            &format!("[Network]\n{key}=no\n"),
        );
        assert_eq!(image.findings()[0].traps, [trap, Trap::ContainerNetwork]);
    }
    // systemd passes over what is no boolean: what was said before counts, or its default.
    let keep = |text: &str| {
        image
            .file("etc/systemd/networkd.conf.d/keep.conf", text)
            .findings()
            .len()
    };
    for value in ["False # x", "maybe", ""] {
        let rules = format!("ManageForeignRoutingPolicyRules={value}\n");
        assert_eq!(
            keep(&format!("[Network]\n{rules}ManageForeignRoutes=no\n")),
            1,
            "{value}"
        );
        let no = "ManageForeignRoutes=no\nManageForeignRoutingPolicyRules=OFF\n";
        assert_eq!(keep(&format!("[Network]\n{no}{rules}")), 0, "{value}");
    }
}

#[test]
fn apt_runs_what_its_own_files_say() {
    let image = Image::new("apt-files");
    let hook = "DPkg::Post-Invoke {\"/sbin/reboot\";};\n";
    image
        .file("etc/systemd/system/a.service", "")
        .file("etc/apt/apt.conf.d/99hook.bak", hook)
        .file("etc/dpkg/dpkg.cfg.d/x.bak", "post-invoke=/sbin/reboot\n");
    assert_eq!(image.findings(), []);
    image
        .file(
            "etc/apt/apt.conf.d/10more",
            "// more\n#include \"/etc/apt/x\";\n#include \"/etc/apt/more/\";\n",
        )
        .file("etc/apt/x", &format!("#include \"/etc/apt/x\";\n{hook}"))
        .file("etc/apt/more/y.conf", hook)
        .file("etc/apt/more/z.txt", hook);
    let told: Vec<_> = image.findings().into_iter().map(|one| one.name()).collect();
    assert_eq!(told, ["/etc/apt/x:2", "/etc/apt/more/y.conf:1"]);
    image.file("etc/apt/apt.conf.d/20none", "#clear DPkg::Post-Invoke;\n");
    assert_eq!(image.findings(), []);
}

#[test]
fn needrestart_that_restarts_by_itself_is_a_trap() {
    let image = Image::new("needrestart");
    image.file("etc/systemd/system/a.service", "");
    image.file("etc/needrestart/needrestart.conf", "#$nrconf{restart} = 'i';\n");
    assert_eq!(image.findings(), []);
    image.file("etc/needrestart/conf.d/auto.conf", "$nrconf{restart} = 'a';\n");
    let finding = &image.findings()[0];
    assert_eq!(finding.traps, [Trap::RestartsByItself]);
    let folder = format!("{}/etc/needrestart/conf.d", image.0.display());
    assert_eq!(finding.remedy[0], format!("mkdir -p {folder}"));
    assert!(finding.remedy[1].contains(&format!(">{folder}/")), "{finding:?}");
}
