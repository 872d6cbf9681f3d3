import pytest

from nas.errors import Infeasible
from nas.models.size import check_buildable, memory_bytes
from nas.space.architecture import Architecture, Stage


def network(**stage):
    return Architecture(stages=(Stage(**{"mixer": "identity", "depth": 1, "width": 8, **stage}),))


def test_a_network_that_memory_can_hold_is_nothing_to_speak_of():
    check_buildable(network(), image_size=224, num_classes=1000)


@pytest.mark.parametrize(
    ("stage", "words"),
    [({"depth": 10**9}, "at most 10,000 blocks"), ({"width": 100_000, "mlp_ratio": 1000}, "must fit into memory")],
)
def test_a_network_beyond_the_machine_is_refused_before_it_is_built(stage, words):
    with pytest.raises(Infeasible, match=words):
        check_buildable(network(**stage), image_size=32, num_classes=10)


def test_a_containers_limit_counts(tmp_path):
    limit = tmp_path / "sys" / "fs" / "cgroup" / "memory.max"
    limit.parent.mkdir(parents=True)
    limit.write_text("1000000\n")
    assert memory_bytes(tmp_path) == 1_000_000
    limit.write_text("max\n")
    assert memory_bytes(tmp_path) > 1_000_000
