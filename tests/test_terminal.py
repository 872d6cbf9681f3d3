"""Text from outside is shown as it is: no markup, no escapes that a terminal would obey, in any encoding."""

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from nas.terminal import Terminal, command, filled, pasteable, printable


def shown(*objects, **options):
    output = io.StringIO()
    Terminal(file=output, width=300, **options).print(*objects, soft_wrap=True)
    return output.getvalue()


@pytest.mark.parametrize("text", ["a [/b] c", "[bold]x[/]", "run [old]", ":smile:", "[link=x]y", "[[]]", "\\[x]", "[/]"])
def test_brackets_and_colons_are_neither_markup_nor_emoji(text):
    table = Table("head " + text, title=text)
    table.add_row(text)
    assert shown(text) == f"{text}\n"
    assert shown(table).count(text) == 3


def test_escapes_and_what_turns_text_round_are_written_out():
    assert shown("a\x1b[31mb\x07\u202ec\r") == "a\\x1b[31mb\\x07\\u202ec\\r\n"
    assert printable("tab\tand\nline stay") == "tab\tand\nline stay"


@given(st.text())
def test_nothing_that_is_printed_moves_the_cursor(text):
    assert not any(ord(letter) < 32 and letter not in "\t\n" for letter in printable(text))
    assert "\x1b" not in shown(text) and "\x9b" not in shown(text)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp1252", "shift_jis"])
def test_no_encoding_of_the_terminal_is_an_error(encoding):
    script = (
        "from nas.terminal import Terminal, write_anywhere; import sys; write_anywhere();"
        "Terminal().print('90 % · ± 0.3 … café \\udce9 \\U0001f600'); print('± done', file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment, check=False)
    assert process.returncode == 0, process.stderr
    output = process.stdout.decode(encoding)
    assert "90 %" in output and "\\udce9" in output
    assert ("- +- 0.3 ..." in output) == (encoding == "ascii")


class Broken(io.StringIO):
    """A log whose disk is full, or whose reader is gone."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), BrokenPipeError(), UnicodeEncodeError("a", "b", 0, 1, "c")]
)
def test_work_that_lasts_outlives_its_display_and_a_result_does_not_lie(error):
    Terminal(file=Broken(error), lasting=True).print("a trial ended")
    if not isinstance(error, BrokenPipeError):  # who closes a pipe knows that the rest is not read
        with pytest.raises(type(error)):
            Terminal(file=Broken(error)).print("the front")


@given(st.lists(st.text(alphabet="ab [](){}$'\"\\*?~#é;&|\n", min_size=1), max_size=4))
def test_a_printed_command_is_read_back_by_a_shell_as_it_was_meant(arguments):
    words = shlex.split(command("front", *arguments))
    assert words[words.index("front") + 1 :] == arguments


def test_a_path_that_begins_with_a_dash_is_no_option_of_a_printed_command(tmp_path, monkeypatch):
    assert shlex.split(command("front", Path("-x"), "--out", Path("-x/y")))[-3:] == ["./-x", "--out", "./-x/y"]
    monkeypatch.chdir(tmp_path)
    Path("-saved").write_text("")
    subprocess.run(pasteable("mv", Path("-saved"), Path("-back")), shell=True, check=True)
    assert os.listdir() == ["-back"]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_takes_what_is_said_and_no_file_takes_its_place(closed, tmp_path):
    code = (
        "import sys; from nas.terminal import Terminal, write_anywhere; write_anywhere();"
        "file = open('record', 'w'); assert file.fileno() > 2; Terminal().print('said');"
        "print(sys.stdout.isatty(), file=sys.stderr)"
    )
    process = subprocess.run(
        f"{shlex.join([sys.executable, '-c', code])} {closed}",
        shell=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )
    assert process.returncode == 0
    assert (tmp_path / "record").read_text() == ""


@pytest.mark.parametrize("word", ["red\x1b[31m", "bell\a", "caf\udce9", "it's \\ \x7f", "a\u202eb", "\x1bé"])
def test_a_printed_command_holds_no_escape_and_means_the_same(word):
    shown = pasteable("printf", "%s", word)
    assert printable(shown) == shown
    assert subprocess.run(["bash", "-c", shown], capture_output=True, check=True).stdout == os.fsencode(word)


def test_text_on_a_terminal_ends_its_lines_between_words_and_in_a_file_nowhere():
    text = "a word after another " * 9
    on_screen, in_file = io.StringIO(), io.StringIO()
    Terminal(file=on_screen, width=40, force_terminal=True, no_color=True).print(text, soft_wrap=True)
    Terminal(file=in_file, width=40).print(text, soft_wrap=True)
    assert max(map(len, on_screen.getvalue().splitlines())) <= 40 and on_screen.getvalue().split() == text.split()
    assert in_file.getvalue() == f"{text}\n"


@pytest.mark.parametrize("line", ["nas calibrate 'my run/search.yaml' --out 'my run'", "/opt/bin/python -m nas front runs/x"])
def test_a_command_in_a_sentence_is_never_broken(line):
    for width in range(20, 90):
        lines = filled(f"proxy: never calibrated; measure it: {line}", width).splitlines()
        assert sum(line in each for each in lines) == 1
        assert all(len(each) <= width or each.strip() == line for each in lines)


def test_numbers_stay_with_their_units():
    for width in range(20, 60):
        text = filled("as many as 1.57 M of it, 62.5 % in 3 min or so", width)
        assert all(number in text for number in ("1.57 M", "62.5 %", "3 min"))


@given(st.text(), st.integers(0, 60))
def test_breaking_lines_changes_no_text_but_spaces(text, width):
    assert filled(text, width).split() == printable(text).split() or width < 20
