use super::*;
use crate::audit::cron::{self, Form};
use crate::audit::{apt_conf, commands, hooks, udev, unit_file};

#[test]
fn what_cannot_be_understood_is_no_reason_to_call_a_node_clean() {
    let image = Image::debian("broken");
    image.link("etc/systemd/system/loop.service", "loop.service");
    let audit = image.audit(&Policy::allowing(&["apt-daily-upgrade.timer".to_owned()]));
    assert_eq!(audit.unread.len(), 1, "{:?}", audit.unread);
    assert!(!audit.is_clean());
    let mut policy = Policy::default();
    assert_eq!(
        policy.read("allow a\nforbid b\n"),
        Err((2, "forbid b".to_owned()))
    );
}

/// Whoever opens a FIFO waits for its other end; what one of a script's words names is no file of the configuration.
#[test]
fn a_unit_file_that_is_none_is_told_as_not_read_without_waiting_for_it() {
    use rustix::fs::{CWD, Mode, mkfifoat};
    let image = Image::debian("fifo");
    let unread = |image: &Image| image.audit(&Policy::default()).unread;
    image.link("etc/systemd/system/masked.service", "/dev/null");
    mkfifoat(CWD, image.0.join("etc/systemd/pipe"), Mode::RUSR).unwrap();
    image.file(
        "etc/systemd/system/reader.service",
        "[Service]\nExecStart=/bin/sh /etc/systemd/pipe\n",
    );
    assert_eq!(unread(&image), [""; 0]);
    let fifo = "etc/systemd/system/odd.service";
    mkfifoat(CWD, image.0.join(fifo), Mode::RUSR).unwrap();
    let told = unread(&image);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(fifo) && told[0].contains("a FIFO"), "{told:?}");
}

#[test]
fn names_in_commands_to_copy_are_words_of_a_shell() {
    let image = with_cron("my image");
    let root = image.0.display().to_string();
    for unit in [r"scrub@a\x2db", "-Hroot@h"] {
        image
            .file(
                &format!("etc/systemd/system/{unit}.timer"),
                "[Timer]\nOnCalendar=daily\n",
            )
            .file(
                &format!("etc/systemd/system/{unit}.service"),
                "[Service]\nExecStart=apt-get upgrade\n",
            )
            .link(
                &format!("etc/systemd/system/timers.target.wants/{unit}.timer"),
                &format!("../{unit}.timer"),
            );
    }
    image.file("var/spool/cron/crontabs/x;reboot", "@daily apt-get upgrade\n");
    let remedies: Vec<String> = image.findings().into_iter().flat_map(|one| one.remedy).collect();
    for remedy in [
        format!(r"systemctl --root='{root}' disable 'scrub@a\x2db.timer'"),
        format!("systemctl --root='{root}' disable -- -Hroot@h.timer"),
        format!("sed -i '1s/^/#/' '{root}/var/spool/cron/crontabs/x;reboot'"),
    ] {
        assert!(remedies.contains(&remedy), "{remedy} in {remedies:?}");
    }
}

#[test]
fn what_is_allowed_and_not_here_is_told_and_does_not_count() {
    let image = Image::debian("unknown");
    let names = [
        "apt-daily-upgrade.timer",
        "gone.timer",
        "/etc/cron.d/gone",
        "gone.timer",
    ];
    let audit = image.audit(&Policy::allowing(&names.map(str::to_owned)));
    assert_eq!(audit.unknown, ["/etc/cron.d/gone", "gone.timer"]);
    assert!(audit.is_clean());
}

#[test]
fn links_of_an_image_stay_inside_of_it() {
    let image = Image::new("links");
    let outside = Image::new("links-outside");
    outside.file("a.service", "[Service]\nExecStart=/usr/bin/apt-get upgrade\n");
    let target = outside.0.join("a.service");
    image
        .link("etc/systemd/system/a.service", target.to_str().unwrap())
        .link("etc/systemd/system/x.wants/a.service", "../a.service");
    assert_eq!(image.findings(), []);
    let inside = target.strip_prefix("/").unwrap();
    image.file(
        inside.to_str().unwrap(),
        "[Service]\nExecStart=/usr/bin/apt-get upgrade\n",
    );
    assert_eq!(image.findings().len(), 1);
}

#[test]
fn what_is_too_long_is_told_and_what_is_no_file_is_not_waited_for() {
    let image = Image::debian("bounds");
    let long = format!("#!/bin/sh\n{}", "# nothing\n".repeat(110_000));
    image.file("opt/long.sh", &long).file(
        "etc/systemd/system/long.service",
        "[Service]\nExecStart=/opt/long.sh /opt/pipe\n",
    );
    let pipe = image.0.join("opt/pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let audit = image.audit(&Policy::default());
    assert_eq!(audit.unread.len(), 1, "{:?}", audit.unread);
    assert!(
        audit.unread[0].ends_with("opt/long.sh: only its first 1024 KiB were read (long.service names it)")
    );
}

#[test]
fn commands_that_are_too_long_are_told() {
    let image = with_cron("long-command");
    let long = "ip ".repeat(600);
    image
        .file(
            "etc/systemd/system/a.service",
            &format!("[Service]\nExecStart={long}\nExecStop=/opt/a.sh /opt/a.sh\n"),
        )
        .file("opt/a.sh", &format!("#!/bin/sh\napt-get upgrade\n{long}\n"))
        .file("etc/cron.d/b", &format!("@daily root {long}\n"))
        .link("etc/systemd/system/x.wants/a.service", "../a.service");
    let audit = image.audit(&Policy::default());
    let told = |name: &&str| {
        audit
            .unread
            .iter()
            .any(|why| why.starts_with(&format!("{name}: ")))
    };
    assert!(
        ["a.service", "/opt/a.sh", "/etc/cron.d/b"].iter().all(told),
        "{:?}",
        audit.unread
    );
    assert_eq!(audit.unread.len(), 3, "{:?}", audit.unread);
    assert_eq!(audit.findings[0].runs, ["apt-get (/opt/a.sh:2, when it stops)"]);
}

#[test]
fn a_folder_without_units_is_no_node() {
    let image = Image::new("empty");
    assert_eq!(audit(&image.0, &Policy::default(), &BTreeSet::new()), None);
}

#[test]
fn binary_files_do_no_harm() {
    let image = Image::debian("binary");
    let path = image.0.join("etc/systemd/system/odd.service");
    fs::write(path, [0xff, 0, b'[', b'\n', 0xfe, b'=', b'\\']).unwrap();
    assert_eq!(image.findings().len(), 1);
}

/// systemd takes no such name for a unit, but a shell or cron may take it for a file.
#[test]
fn a_name_that_is_no_text_is_told() {
    let image = Image::debian("odd-name");
    let name = std::os::unix::ffi::OsStrExt::from_bytes(b"odd\xff.service");
    let path = image.0.join("etc/systemd/system").join::<&std::ffi::OsStr>(name);
    fs::write(path, "[Service]\nExecStart=apt-get upgrade\n").unwrap();
    let audit = image.audit(&Policy::default());
    assert_eq!(audit.findings.len(), 1, "of the others all is found");
    let [unread] = audit.unread.as_slice() else {
        panic!("{:?}", audit.unread);
    };
    assert!(
        unread.ends_with(
            r#"/etc/systemd/system: its file "odd\xff.service" is left out: that name is not UTF-8"#
        ),
        "{unread}"
    );
}

proptest::proptest! {
    #[test]
    fn any_text_can_be_read(text in "([ -~é\n]|[\"'`$(){};|&<>=\\\\#%*/@,-]|apt-get|\\$apt|%I|ssh |docker run |<<|\n# |\\$\\{|:-){0,60}") {
        commands::read(&text);
        udev::rules(&text);
        apt_conf::AptConf::of_text(&text);
        specifiers::expand(&text, &text, &specifiers::Manager::of_node());
        environment::fill(&text, &[("apt".to_owned(), text.clone())].into());
        hooks::rotations(&text);
        unit_file::UnitFile::default().read(&text);
        for form in [Form::System, Form::User, Form::Anacron] {
            cron::read(&text, form, None);
        }
    }
}

#[test]
fn what_cannot_be_read_is_told_once_and_by_its_name_on_the_node() {
    let image = Image::new("once");
    image
        .file("etc/systemd/system/a.service", "[Service]\n")
        .link("etc/apt/apt.conf.d/loop", "loop")
        .link("etc/passwd", "passwd");
    let unread = image.audit(&Policy::default()).unread;
    let begins = |begin: &str| unread.iter().filter(|one| one.starts_with(begin)).count();
    assert_eq!(
        (
            begins("/etc/apt/apt.conf.d/loop: "),
            begins("/etc/passwd: "),
            unread.len()
        ),
        (1, 1, 2),
        "{unread:?}"
    );
}

#[test]
fn a_root_without_units_is_audited_and_a_folder_that_is_none_is_not() {
    let told = |name: &str, path: &str| {
        let image = Image::new(name);
        image.file(path, "x\n");
        let audit = audit(&image.0, &Policy::default(), &BTreeSet::new())?;
        Some((
            audit.is_clean(),
            audit.no_units,
            crate::ui::text::audit(&audit, 120),
        ))
    };
    assert_eq!(told("no-root", "home/x"), None);
    for path in ["etc/hostname", "usr/lib/os-release"] {
        let (is_clean, no_units, page) = told("no-units", path).unwrap();
        // There was nothing to judge.
        assert!(!is_clean && no_units, "{path}");
        assert!(page.starts_with("It cannot be told"), "{page}");
        assert!(page.contains("there was nothing to judge"), "{page}");
        assert!(page.contains("There was no unit file of systemd"), "{page}");
    }
    let (is_clean, no_units, _) = told("a-job", "etc/cron.d/x").unwrap();
    assert!(!is_clean && no_units);
    let (is_clean, no_units, _) = told("a-hook", "etc/dhcp/dhclient-exit-hooks").unwrap();
    assert!(is_clean && no_units);
    let (_, no_units, page) = told("some-unit", "lib/systemd/system/x.service").unwrap();
    assert!(!no_units && !page.contains("There was no unit"), "{page}");
}
