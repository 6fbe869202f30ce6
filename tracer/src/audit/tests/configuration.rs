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
}

#[test]
fn needrestart_that_restarts_by_itself_is_a_trap() {
    let image = Image::new("needrestart");
    image.file("etc/systemd/system/a.service", "");
    image.file("etc/needrestart/needrestart.conf", "#$nrconf{restart} = 'i';\n");
    assert_eq!(image.findings(), []);
    image.file("etc/needrestart/conf.d/auto.conf", "$nrconf{restart} = 'a';\n");
    assert_eq!(image.findings()[0].traps, [Trap::RestartsByItself]);
}
