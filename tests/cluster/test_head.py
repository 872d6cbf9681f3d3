"""The head of a joined cluster: its death is one message and an exit code in seconds, or a wait for the next one."""

import socket
import threading

import pytest

from nas.cluster import head
from nas.cluster.head import COMES_BACK, DRIVEN, HEAD_LOST, head_watched, started_again
from nas.errors import NasError


@pytest.fixture
def listening():
    server = socket.create_server(("127.0.0.1", 0))
    yield server
    server.close()


@pytest.fixture
def ends(monkeypatch):
    """The exit codes with which the process would have ended, and what says that it did."""
    codes, happened = [], threading.Event()
    monkeypatch.setattr(head.os, "_exit", lambda code: (codes.append(code), happened.set()))
    monkeypatch.setattr(head, "HEAD_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(head, "GONE_SECONDS", 0.1)
    return codes, happened


@pytest.mark.parametrize(
    ("variables", "code", "word"), [({}, HEAD_LOST, "wait for one by itself"), ({DRIVEN: "1"}, COMES_BACK, "")]
)
def test_a_head_that_is_gone_ends_the_process_with_what_is_safe_and_the_way_on(
    listening, ends, monkeypatch, capsys, variables, code, word
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    address = f"127.0.0.1:{listening.getsockname()[1]}"
    with head_watched(address):
        listening.close()
        assert ends[1].wait(10)
    assert ends[0][0] == code
    text = capsys.readouterr().err
    assert f"resources.address {address}" in text and "Nothing that finished is lost" in text and word in text


def test_a_head_that_answers_and_one_that_is_left_end_nothing(listening, ends):
    with head_watched(f"127.0.0.1:{listening.getsockname()[1]}"):
        assert not ends[1].wait(0.3)
    listening.close()
    assert not ends[1].wait(0.3)


def test_a_command_is_started_again_once_its_cluster_is_back(monkeypatch):
    codes, looks, words = iter([COMES_BACK, COMES_BACK, 0]), iter([NasError("nobody"), None, None]), []

    def reached(address):
        if (trouble := next(looks)) is not None:
            raise trouble

    monkeypatch.setattr(head, "_run", lambda: next(codes))
    monkeypatch.setattr(head, "reach", reached)
    monkeypatch.setattr(head, "KNOCK_SECONDS", 0.0)
    assert started_again("gpu1:6379", patience=1800, say=words.append) == 0
    assert words == 2 * ["waiting up to 30 min for a cluster at gpu1:6379", "the cluster at gpu1:6379 is back: going on"]


def test_a_cluster_that_stays_away_ends_the_wait(monkeypatch):
    words = []
    monkeypatch.setattr(head, "_run", lambda: COMES_BACK)
    assert started_again("gpu1:6379", patience=0, say=words.append) == HEAD_LOST
    assert words[-1] == "no cluster came back at gpu1:6379 in 0 s; the same command continues later"


@pytest.mark.parametrize("code", [0, 1, 2, 130])
def test_any_other_end_of_the_command_is_its_own(monkeypatch, code):
    monkeypatch.setattr(head, "_run", lambda: code)
    assert started_again("gpu1:6379", patience=1800, say=lambda text: pytest.fail(text)) == code
