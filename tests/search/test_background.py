"""What watches a search can be away, hang and come back; the search is never held, and what waited is sent then."""

import threading
import time

import pytest

from nas.search import background
from nas.search.background import Background


@pytest.fixture
def quick(monkeypatch):
    for name, seconds in {"SILENT_SECONDS": 0.05, "RETRY_SECONDS": 0.02, "TRYING_SECONDS": 0.2, "FLUSH_SECONDS": 0.5}.items():
        monkeypatch.setattr(background, name, seconds)


class Server:
    """Remembers what it is sent while it is up."""

    def __init__(self, *, is_up: bool):
        self.is_up, self.messages = is_up, []

    def send(self, message: object) -> None:
        if not self.is_up:
            raise ConnectionError("refused")
        self.messages.append(message)


def until(condition) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_calls_are_done_in_their_order_and_all_of_them_before_the_end():
    lines, server = [], Server(is_up=True)
    line = Background("mlflow", say=lines.append)
    for number in range(500):
        line.add(lambda number=number: server.send(number))
    line.close()
    assert (server.messages, lines) == (list(range(500)), [])


def test_a_server_that_comes_back_gets_everything_and_both_are_said_once(quick, monkeypatch):
    monkeypatch.setattr(background, "TRYING_SECONDS", 60)
    lines, server = [], Server(is_up=False)
    line = Background("mlflow", say=lines.append)
    for number in range(3):
        line.add(lambda number=number: server.send(number))
    until(lambda: lines)
    time.sleep(0.1)
    server.is_up = True
    until(lambda: len(server.messages) == 3)
    line.close()
    assert server.messages == [0, 1, 2]
    assert lines == ["mlflow is away, the search goes on and tries it again now and then: refused", "mlflow is back."]


def test_a_server_that_stays_away_is_given_up_in_the_end(quick):
    lines, server = [], Server(is_up=False)
    line = Background("mlflow", say=lines.append)
    line.add(lambda: server.send(1))
    until(lambda: len(lines) == 2)
    line.add(lambda: server.send(2))
    line.close()
    assert lines[1] == "mlflow broke and logs no more, the search goes on: refused"
    assert len(lines) == 2


def test_a_server_that_never_answers_holds_neither_the_calls_nor_the_end(quick):
    lines, release = [], threading.Event()
    line = Background("mlflow", say=lines.append)
    before = time.monotonic()
    for _ in range(100):
        line.add(release.wait)
    assert time.monotonic() - before < 0.5
    until(lambda: lines)
    line.close()
    assert time.monotonic() - before < 2
    release.set()
    assert lines[0] == "mlflow is away, the search goes on and tries it again now and then: no answer for 0.05 s"
    assert lines[1].startswith("mlflow does not have all of this search")


def test_a_server_that_is_away_at_the_end_is_tried_once_more_and_then_left(quick, monkeypatch):
    monkeypatch.setattr(background, "RETRY_SECONDS", 60)
    lines, server = [], Server(is_up=False)
    line = Background("mlflow", say=lines.append)
    line.add(lambda: server.send("late"))
    until(lambda: lines)
    server.is_up = True
    line.close()
    assert server.messages == ["late"]
    assert lines[1:] == ["mlflow is back."]


def test_more_messages_than_are_kept_are_not_kept(quick, monkeypatch):
    monkeypatch.setattr(background, "MOST_WAITING", 10)
    lines, release = [], threading.Event()
    line = Background("mlflow", say=lines.append)
    for _ in range(20):
        line.add(release.wait)
    assert lines[-1] == "mlflow broke and logs no more, the search goes on: 10 messages wait for it"
    release.set()
    line.close()
