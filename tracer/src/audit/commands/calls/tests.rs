use super::*;

fn runs(text: &str, syntax: Syntax) -> Vec<String> {
    let found = read(text, syntax).commands.into_iter();
    found
        .map(|(line, runs)| match runs {
            Runs::Text(text) => format!("{line}: {text}"),
            Runs::Words(words) => format!("{line}: {words:?}"),
        })
        .collect()
}

#[test]
fn calls_of_python() {
    for (text, found) in [
        ("os.system(\"reboot\")", &["1: reboot"][..]),
        ("import os\n\nos.system('reboot now')  # x", &["3: reboot now"]),
        ("os.system(f'reboot {x}')", &["1: reboot {x}"]),
        (
            "subprocess.run([\"apt-get\", \"upgrade\"], check=True, cwd=\"/\")",
            &["1: [\"apt-get\", \"upgrade\"]"],
        ),
        ("run(\n    [\n        'reboot',\n    ],\n)", &["1: [\"reboot\"]"]),
        ("subprocess.check_call(('reboot',))", &["1: [\"reboot\"]"]),
        (
            "subprocess.call(\"apt-get \" + what + ' -y', shell=True)",
            &["1: apt-get $what -y"],
        ),
        (
            "subprocess.run(['systemctl', verb, 'networking'])",
            &["1: [\"systemctl\", \"$verb\", \"networking\"]"],
        ),
        ("subprocess.run(shlex.split('reboot now'))", &["1: reboot now"]),
        (
            "subprocess.Popen('reboot now'.split(), env={})",
            &["1: reboot now"],
        ),
        (
            "CMD = ['reboot', '-f']\nsubprocess.run(CMD)",
            &["2: [\"reboot\", \"-f\"]"],
        ),
        ("cmd = 'reboot' if x else 'halt'\nos.system(cmd)", &["2: reboot"]),
        (
            "os.spawnlp(os.P_WAIT, 'reboot', 'reboot')",
            &["1: [\"reboot\", \"reboot\"]"],
        ),
        (
            "os.execv('/sbin/reboot', ['reboot'])",
            &["1: [\"/sbin/reboot\", \"reboot\"]"],
        ),
        ("# os.system('reboot')\nx = 1  # os.system('reboot')", &[]),
        (
            "def f():\n    \"\"\"It's os.system('reboot').\n    os.system('reboot')\n    \"\"\"",
            &[],
        ),
        (
            "print(\"os.system('reboot')\")\nhelp = 'subprocess.run([\"reboot\"])'",
            &[],
        ),
        ("parser.add_argument('--system', choices=['reboot'])", &[]),
        ("app.run('reboot')\nx().run('reboot')\nre.exec('reboot')", &[]),
        ("def system(text='reboot'): pass", &[]),
        (
            "os.system(cmd)\nsubprocess.run([cmd, 'reboot'])\nos.system(f(x, 'reboot'))",
            &[],
        ),
        ("d = \"it's\"\nos.system('reboot')", &["2: reboot"]),
    ] {
        assert_eq!(runs(text, Syntax::Python), found, "{text}");
    }
}

#[test]
fn calls_of_perl() {
    for (text, found) in [
        ("system(\"reboot\");", &["1: reboot"][..]),
        ("system 'reboot' or die 'shutdown';", &["1: reboot"]),
        (
            "system(\"apt-get\", \"upgrade\") == 0 or die;",
            &["1: [\"apt-get\", \"upgrade\"]"],
        ),
        ("system qw(reboot now);", &["1: [\"reboot\", \"now\"]"]),
        ("system(qw(reboot now));", &["1: [\"reboot\", \"now\"]"]),
        (
            "my $x = `reboot`; $y = qx{reboot now};",
            &["1: reboot", "1: reboot now"],
        ),
        ("exec { 'a' } 'reboot';", &[]),
        (
            "my @c = ('reboot', '-f');\nsystem(@c);",
            &["2: [\"reboot\", \"-f\"]"],
        ),
        (
            "open(my $p, '-|', 'reboot now');\nopen(P, \"reboot |\");",
            &["1: reboot now", "2: reboot "],
        ),
        ("open(my $f, '<', 'reboot');", &[]),
        ("# system('reboot')\nmy $n = $#list; # `reboot`", &[]),
        ("=head1 X\n\nsystem('reboot')\n\n=cut\nprint 1;", &[]),
        (
            "print <<EOF;\nsystem('reboot') `reboot`\nEOF\nsystem('halt');",
            &["4: halt"],
        ),
        ("print \"usage:\n system('reboot')\n\";", &[]),
        (
            "$x->system('reboot'); sub system { 'reboot' }\n__END__\n`reboot`",
            &[],
        ),
    ] {
        assert_eq!(runs(text, Syntax::Perl), found, "{text}");
    }
}

#[test]
fn calls_of_others() {
    for (syntax, text, found) in [
        (
            Syntax::Ruby,
            "system 'reboot'\n%x(halt)\n`x`\nIO.popen(['reboot'])",
            &["1: reboot", "2: halt", "3: x", "4: [\"reboot\"]"][..],
        ),
        (
            Syntax::Php,
            "shell_exec('reboot'); // exec('reboot')\n/* exec('reboot'); */ $db->exec('reboot'); echo `x`;",
            &["1: reboot", "2: x"],
        ),
        (
            Syntax::JavaScript,
            "const c = require('child_process');\nrequire('child_process').exec('reboot', (e) => {});",
            &["2: reboot"],
        ),
        (
            Syntax::JavaScript,
            "spawn('reboot', ['-f']); // exec('reboot')\n/a/.exec('reboot'); x.exec('reboot'); `reboot`;",
            &["1: [\"reboot\", \"-f\"]"],
        ),
    ] {
        assert_eq!(runs(text, syntax), found, "{text}");
    }
}

#[test]
fn what_is_never_closed_ends() {
    for syntax in [
        Syntax::Python,
        Syntax::Perl,
        Syntax::Ruby,
        Syntax::Php,
        Syntax::JavaScript,
    ] {
        for text in [
            "'", "\"\"\"", "`", "system(", "system([", "qx(", "%x{", "<<EOF\n", "/*", "=x\n", "x = [",
        ] {
            read(&text.repeat(1 << 12), syntax);
        }
    }
}
