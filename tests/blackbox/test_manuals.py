"""The manual pages against the programs: every command, option, key, signal; and no warning."""
import re
import subprocess

import pytest

from harness import BUILD, ROOT

CTL, DAEMON = ROOT / "conf/man/consentctl.1", ROOT / "conf/man/consentd.8"


def output(*args):
    return subprocess.run([str(a) for a in args], capture_output=True, text=True, check=True).stdout


def plain(text):
    """mdoc without its macros: what a reader sees of names, more or less."""
    text = re.sub(r"\bFl -(\w)", r"--\1", text)
    text = re.sub(r"\bFl (\w)", r"-\1", text)
    return text.replace("\\-", "-").replace("\\&", "")


def commands():
    """words -> options, from consentctl --help."""
    found, words = {}, None
    for line in output(BUILD / "consentctl", "--help").splitlines():
        head = re.fullmatch(r"  ([a-z]+(?: [a-z][a-z-]*)?)((?: [\[A-Z-].*)?) ?", line)
        if head:
            words = head[1]
            found[words] = head[2]
        elif words and line.startswith("      ["):  # filters that need more than one line
            found[words] += " " + line.strip()
        elif words and line.startswith("      "):
            words = None
    return found


def items(page):
    """The words of every ".It Cm" line: "rules set", "audit query"."""
    found = set()
    for line in page.read_text().splitlines():
        head = re.match(r"\.It Cm ([a-z]+(?: [a-z][a-z-]*)?)", line)
        if head:
            found.add(head[1])
    return found


def test_every_command_is_in_the_page_and_no_other():
    assert len(commands()) > 25
    assert set(commands()) == items(CTL)


def test_a_group_shows_its_commands_and_a_slip_what_was_meant():
    help_of_rules = output(BUILD / "consentctl", "rules", "--help")
    assert [line.split()[:2] for line in help_of_rules.splitlines() if line[2] != " "] == \
        [words.split() for words in commands() if words.startswith("rules ")]
    for typed, meant in (("rules lst", "rules list"), ("ruls list", "rules list"), ("stauts", "status")):
        done = subprocess.run([BUILD / "consentctl", *typed.split()], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and f'did you mean "{meant}"' in done.stderr


@pytest.mark.parametrize("words", sorted(commands()) if (BUILD / "consentctl").exists() else [])
def test_every_option_is_in_the_page(words):
    text = plain(CTL.read_text())
    options = commands()[words] + output(BUILD / "consentctl", *words.split(), "--help")
    start = re.search(rf"^\.It Cm {words}\b", text, re.M).start()
    end = re.compile(r"^\.(El|It)\b", re.M).search(text, start + 5).start()
    own = text[start:end]
    if "filters" in own or words == "audit query":
        own += text[text.index(".It Cm audit query"):text.index(".It Cm audit get")]
    for option in set(re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", options)) - {"--help"}:
        if option == "-o" or option in ("--journal",):
            assert option in text  # told once for all
        else:
            assert re.search(rf"{option}(?![\w-])", own), f"consentctl {words} {option}"


def test_every_option_of_the_daemon_is_in_the_page():
    listed = set(re.findall(r"^\.It Fl (?:\w , )?-(\w+)", DAEMON.read_text(), re.M))
    options = set(re.findall(r"(?<![\w-])--([a-z]+)", output(BUILD / "consentd", "--help")))
    assert {"config", "test", "version"} <= options and options == listed


def test_every_signal_is_in_the_page():
    watched = set(re.findall(r"loop_on_signal\(m->loop, (SIG\w+)", (ROOT / "proxy/proc/master.c").read_text()))
    assert {"SIGHUP", "SIGUSR1", "SIGUSR2", "SIGTERM"} <= watched
    signals = DAEMON.read_text().split(".Sh SIGNALS")[1].split(".Sh ")[0]
    for name in watched - {"SIGCHLD"}:
        assert re.search(rf"^\.It Dv .*\b{name}\b", signals, re.M), name


def test_every_key_is_in_the_page():
    reference = output(BUILD / "consentctl", "config", "reference")
    keys = {line.strip() for line in reference.splitlines() if re.match(r"[a-z]", line)}
    page = output(BUILD / "consentctl", "config", "reference", "--man")
    listed = set(re.findall(r"^\.It Cm (\S+)", page, re.M))
    assert len(keys) > 80 and keys <= listed, keys - listed


@pytest.mark.parametrize("section", ["NAME", "SYNOPSIS", "DESCRIPTION", "FILES", "EXIT STATUS", "EXAMPLES",
                                     "SEE ALSO"])
def test_sections(section):
    for page in (CTL, DAEMON):
        assert f"\n.Sh {section}\n" in page.read_text(), page.name
    if section not in ("SYNOPSIS", "EXIT STATUS"):
        assert f"\n.Sh {section}\n" in output(BUILD / "consentctl", "config", "reference", "--man")


def test_no_warning_and_every_example_can_be_read(tmp_path):
    (tmp_path / "consentd.json.5").write_text(output(BUILD / "consentctl", "config", "reference", "--man"))
    for page in (CTL, DAEMON, tmp_path / "consentd.json.5"):
        done = subprocess.run(["groff", "-mandoc", "-ww", "-Tutf8", str(page)], capture_output=True, text=True,
                              check=True)
        assert done.stderr == "" and len(done.stdout) > 2000, page.name
        text = page.read_text()
        assert "TODO" not in text and not re.search(r"[ \t]$", text, re.M), page.name
