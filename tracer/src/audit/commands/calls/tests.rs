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
            "<?php shell_exec('reboot'); // exec('reboot')\n/* exec('reboot'); */ $db->exec('reboot'); echo `x`;",
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
fn what_is_shifted_is_no_document() {
    for (syntax, text, found) in [
        (
            Syntax::Perl,
            "my $x = 1<<NAME;\nsystem('reboot');\nNAME\n",
            &["2: reboot"][..],
        ),
        (Syntax::Perl, "$x = $y <<NAME;\nsystem('a');\nNAME\n", &["2: a"]),
        (Syntax::Perl, "foo(1) << SHIFT;\nsystem('a');", &["2: a"]),
        (Syntax::Perl, "print <<NAME;\nsystem('a');", &["2: a"]),
        (
            Syntax::Perl,
            "print $f <<A, <<'B C';\n`a`\nA\n`b`\nB C\n`c`",
            &["6: c"],
        ),
        (Syntax::Ruby, "x = 1<<NAME\nsystem('a')\nNAME\n", &["2: a"]),
        (
            Syntax::Ruby,
            "class << self\n`a`\nend\nlist <<ITEM\n`b`",
            &["2: a", "5: b"],
        ),
        (Syntax::Ruby, "puts <<~EOF\n  `a`\n  EOF\n`b`", &["4: b"]),
        (
            Syntax::Php,
            "<?php $x = 1 <<NAME;\nexec('a');\nNAME;\n",
            &["2: a"],
        ),
        (Syntax::Php, "<?php $x = <<<'E'\n`a`\n  E; exec('b');", &["3: b"]),
        // What is given such a text runs it.
        (
            Syntax::Perl,
            "system(<<E);\na\nE\n$x = <<`E`;\nb\nE\n",
            &["1: \na\n", "4: \nb\n"],
        ),
    ] {
        assert_eq!(runs(text, syntax), found, "{syntax:?}: {text}");
    }
}

#[test]
fn quotes_that_quote_nothing_hide_no_call() {
    let after = "system('reboot');";
    for before in [
        "$x =~ m{it's};",
        "$x =~ /don't/;",
        "next if /don't/;",
        "split /'/, $x;",
        "return /\"/ ? 1 : 0;",
        "$x =~ s/'/\"/g;",
        "$x =~ s{'} {`}g;",
        "$x =~ tr/'/x/;",
        "$x =~ /[`']/ and qr#it's#;",
        "$h{q} = 1; $h{s} / 2; $h{ y }; %s = (q => 1, s=>2);",
        "$h{m}{s} = $o->q($x) . $o->s;",
        "if (-s $file) { foo() }# don't",
        "my $n = $#s; local $\" = ','; $x = $';",
        "$x = $y / $z; # it's / one",
        "$x = shift // 'none'; $y ||= $x / 2;",
        "$x = $a.'x'.$b;",
        "sub s { 1 }",
        "$x =~ m,it's,; @x = (s, 'y');",
    ] {
        let text = format!("{before} {}", "\n") + after;
        assert_eq!(runs(&text, Syntax::Perl), ["2: reboot"], "{text}");
        // What follows is as before the quotes of others.
        assert_eq!(
            runs(&format!("{text}\n'x'"), Syntax::Perl),
            ["2: reboot"],
            "{text}"
        );
    }
    for before in [
        "x =~ /don't/",
        "puts x if x.match?(/it's/)",
        "%r{it's}",
        "y = x / 2 # it's / one",
        "puts \"a #{h[\"it's\"]} b\"",
        "x = %w[it's]; z = x %y",
    ] {
        let text = format!("{before}\nsystem 'reboot'\n'x'");
        assert_eq!(runs(&text, Syntax::Ruby), ["2: reboot"], "{text}");
    }
    for before in [
        "// don't",
        "x = /it's/; y = /[/'`]/g;",
        "return /don't/.test(x);",
        "x = `a ${b ? `c` : \"it's\"} d`;",
        "x = `it's`; y = a / b; z = 'a' / 2; // '",
        "p = '\nq = `a`",
    ] {
        let text = format!("#!/usr/bin/env node\n{before}\nexecSync('reboot'); x = `y`");
        let line = 3 + before.matches('\n').count();
        assert_eq!(
            runs(&text, Syntax::JavaScript),
            [format!("{line}: reboot")],
            "{text}"
        );
    }
    for before in [
        "don't <?php",
        "<?php # don't\n// it's ?> don't <?=",
        "<?php #[Attr('x')]",
        "<?php $x = \"{$h[\"it's\"]}\";",
    ] {
        let text = format!("{before} exec('reboot'); ?> `a`");
        let line = 1 + before.matches('\n').count();
        assert_eq!(runs(&text, Syntax::Php), [format!("{line}: reboot")], "{text}");
    }
}

#[test]
fn patterns_and_comments_are_no_commands() {
    for (syntax, text) in [
        (
            Syntax::Perl,
            "$x =~ m/`reboot`/; $x =~ s{`a`}{`b`}; /system('a')/; 1 # `a`",
        ),
        (Syntax::Ruby, "x =~ /`reboot`/; %r(`a`) # `a`"),
        (Syntax::JavaScript, "x = /execSync('a')/; // execSync('a')"),
        (Syntax::Php, "`a` <?php // `a`\n1 ?> `a`"),
    ] {
        let calls = read(text, syntax);
        assert_eq!((&calls.commands[..], calls.lines.len()), (&[][..], 0), "{text}");
        assert!(!calls.code.contains(['`', '\'']), "{}", calls.code);
        assert_eq!(calls.code.lines().count(), text.lines().count());
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
            "'",
            "\"\"\"",
            "`",
            "system(",
            "system([",
            "qx(",
            "%x{",
            "<<EOF\n",
            "/*",
            "=x\n",
            "x = [",
            "`${",
            "\"#{",
            "\"{$",
            "/[",
            "= /",
            "m{",
            "s/",
            "s{}",
            "%r(",
            "<<A\n<<`B`\n",
            "x /y",
            "`${'",
            "<<'",
        ] {
            let page = if syntax == Syntax::Php { "<?php " } else { "" };
            read(&(page.to_owned() + &text.repeat(1 << 12)), syntax);
        }
    }
}
