"""Decoding is shown when it takes long enough to be noticed, with its size before it begins."""

import io

import pytest
from rich.console import Console

from nas.data import progress as decoding_bar
from nas.data.progress import shown_decoding


@pytest.fixture
def decode_in(monkeypatch):
    """What is printed while 1,000 images are decoded, or bytes unpacked, in so many seconds."""

    def printed(seconds, *, unit="images", **options):
        clock = iter(range(10**6))
        monkeypatch.setattr(decoding_bar.time, "monotonic", lambda: next(clock) * seconds / 1000)
        console = Console(file=io.StringIO(), width=200, **options)
        with shown_decoding(console, image_size=100) as told:
            for done in range(1001):
                told(done, 1000, unit)
        return console.file.getvalue()

    return printed


def test_a_short_decoding_is_silent(decode_in):
    assert decode_in(0.5) == ""
    assert decode_in(0.5, force_terminal=True) == ""


def test_without_a_terminal_there_is_a_line_at_begin_and_end(decode_in):
    begin, end = decode_in(10).splitlines()
    assert begin.startswith("decoding 1,000 images at 100 px into ")
    assert "30.0 MB" in begin
    assert "images/s" in end


def test_a_terminal_has_a_bar_with_rate_and_time_left(decode_in):
    text = decode_in(10, force_terminal=True)
    assert "ETA" in text
    assert " of 1,000 images · " in text


def test_a_packed_tar_is_shown_in_bytes(decode_in):
    begin, end = decode_in(10, unit="bytes").splitlines()
    assert begin.startswith("unpacking a tar of 1.00 kB into ")
    assert end.startswith("unpacked in 10 s, ")
    assert " of 1.00 kB · " in decode_in(10, unit="bytes", force_terminal=True)


def test_small_passes_after_a_long_one_are_silent(monkeypatch):
    console = Console(file=io.StringIO())
    with shown_decoding(console, image_size=8) as told:
        for done in range(101):
            told(done, 100, "images")
    assert console.file.getvalue() == ""
