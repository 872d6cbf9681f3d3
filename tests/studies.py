"""A study with made-up trainings: the accuracy follows from the key, so that it is the same wherever it is asked."""

import itertools

import pytest

from nas.run.folder import open_folder
from nas.search.study import Study
from nas.training.curve import Epoch


@pytest.fixture
def opened(tmp_path):
    def open_(search) -> Study:
        return Study(search, open_folder(tmp_path / "run", search), manifest_hash="feed")

    return open_


def epoch(number: int, accuracy: float = 0.5, **changes) -> Epoch:
    """An epoch of two seconds that reached an accuracy."""
    facts = {"loss": None, "train_loss": 1.0, "lr": 0.1, "seconds": 2.0, "steps": 1, **changes}
    return Epoch(epoch=number, accuracy=accuracy, **facts)


def accuracy_of(architecture) -> float:
    return int(architecture.key[:6], 16) / 16**6


def finish_next(study: Study) -> int | None:
    proposal = study.propose()
    if proposal is None:
        return None
    study.report(proposal.number, epoch(1, accuracy_of(proposal.architecture)))
    study.finish(proposal.number, accuracy=accuracy_of(proposal.architecture), seconds=1.0)
    return proposal.number


def finish_all(study: Study) -> list[int]:
    return list(itertools.takewhile(lambda n: n is not None, (finish_next(study) for _ in itertools.count())))


def told(study: Study) -> list[tuple]:
    return [(r.number, r.state, r.key, r.accuracy, r.cause) for r in study.records]
