"""What is learnt of a trial after its end stands in the study's own attributes, in any storage."""

import pytest

from nas.run.additions import LATENCY, REPLICATE, Addition, adding, additions
from nas.run.folder import open_folder
from nas.run.reading import read
from nas.run.record import NotWritten
from nas.search.study import Study

CONDITIONS = {"runtime": "torch", "channels_last": False, "batch": 1, "image_size": 32, "dtype": "float32"}
SETUP = {"conditions": CONDITIONS, "machine": {"device": "cpu", "model": "a model", "threads": 1}}


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_an_addition_is_in_the_record_at_once_and_a_later_one_of_its_name_takes_its_place(tiny, tmp_path, kind):
    search = tiny(*([f"search.storage=journal://{tmp_path}/run.journal"] if kind == "journal" else []))
    folder = open_folder(tmp_path / "run", search)
    study = Study(search, folder, manifest_hash="feed")
    number = study.propose().number
    study.finish(number, accuracy=0.5, seconds=1.0)  # and Optuna takes no more attributes for it
    slow, fast = ({"latency_ms": ms, "measured": "now", **SETUP} for ms in (9.0, 3.0))
    with adding(search, folder) as add:
        add(Addition(LATENCY, number, "cpu", slow))
        assert read(folder.root).additions == [Addition(LATENCY, number, "cpu", slow)]
        add(Addition(LATENCY, number, "cpu", fast))
        add(Addition(REPLICATE, number, "seed 1", {"accuracy": 0.4, "seed": 1}))
    found = {each.kind: each for each in read(folder.root).additions}
    assert found[LATENCY].value == fast and found[REPLICATE].which == "seed 1" and len(found) == 2
    assert [record.accuracy for record in read(folder.root).records] == [0.5]
    study.close()


@pytest.mark.parametrize("lacking", SETUP)
def test_a_latency_that_does_not_say_how_it_was_measured_is_refused_by_name(lacking):
    time = {"latency_ms": 3.0, "measured": "now", **{name: value for name, value in SETUP.items() if name != lacking}}
    with pytest.raises(NotWritten, match=f"trial 1: latency.cpu.{lacking}: .*this key is required"):
        additions({f"{LATENCY} 1 cpu": time})
