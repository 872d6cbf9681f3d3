"""What ended a worker, in words and with its place."""

import pytest

from nas.cluster.loss import first_cause, host_of_death, loss_in_words
from nas.cluster.quiet import ray
from nas.errors import ConfigError

OF_AN_ACTOR = """The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
\tactor_id: 0123
\tnamespace: abc
\tip: 10.77.0.2
The actor is dead because its worker process has died.
The actor never ran - it was cancelled before it started running."""
OF_A_WORKER = "A worker health check failed.\nWorker info: Worker(\n  hostname='gpu3',\n    node_id='b',\n"


class Unhealthy(Exception):
    """As Ray Train has it."""

    def __init__(self, failure):
        super().__init__(OF_A_WORKER)
        self.health_check_failure = failure


@pytest.fixture(autouse=True)
def nodes(monkeypatch):
    there = {"a": ("10.77.0.2", "gpu2"), "b": ("10.77.0.3", "gpu3")}
    listed = lambda: [  # noqa: E731
        {"NodeID": node, "NodeManagerAddress": ip, "NodeManagerHostname": host, "Alive": node != "b"}
        for node, (ip, host) in there.items()
    ]
    monkeypatch.setattr(ray, "nodes", listed)


def test_the_place_of_a_worker_that_never_ran_is_known():
    assert host_of_death(OF_AN_ACTOR) == "gpu2"
    assert host_of_death("killed") is None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Unhealthy(ray.exceptions.ActorDiedError()), "the node gpu3 is gone"),
        (Unhealthy(ray.exceptions.OutOfMemoryError("...")), "the memory on gpu3 was full and Ray ended the worker there"),
        (Unhealthy(TimeoutError("...")), "the worker on gpu3 does not answer"),
        (RuntimeError("Connection closed by peer [1.2.3.4]"), "a worker lost the connection to another (Connection closed by"),
        (ValueError("a\nb"), "a worker failed with a b"),
    ],
)
def test_a_loss_is_a_clause_and_no_dump(error, words):
    assert loss_in_words(error).startswith(words) and "\n" not in loss_in_words(error)


def test_of_several_workers_errors_the_one_that_explains_the_others_is_told():
    closed, gone, wrong = (
        RuntimeError("Connection closed"),
        Unhealthy(ray.exceptions.ActorDiedError()),
        ConfigError("classes: …"),
    )
    assert first_cause([closed, gone]) is gone
    assert first_cause([closed, gone, wrong := ConfigError("classes: …")]) is wrong
