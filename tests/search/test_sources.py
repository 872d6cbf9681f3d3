"""What a search learns from other runs: copied once, what overlaps said, what can't be meant refused."""

import json
import shutil

import pytest

from nas.errors import ConfigError, NasError
from nas.run.folder import RunFolder, open_folder
from nas.run.settings.search import read_search
from nas.search.sources import FEWEST_POINTS, LEARNT_FILE, keep_sources, learnt_sources, overlapping, sources_of
from nas.search.study import Study
from tests.studies import accuracy_of, epoch, finish_all, told

OLD = ("search.trials=12", "search.proposal_seed=3")


@pytest.fixture(scope="module")
def old_run(tmp_path_factory):
    """A finished run of twelve trials, whose folder no test changes."""
    root = tmp_path_factory.mktemp("old") / "run"
    search = read_search("tiny", settings=list(OLD))
    study = Study(search, open_folder(root, search), manifest_hash="feed")
    finish_all(study)
    study.close()
    return root


@pytest.fixture
def copied(old_run, tmp_path):
    return shutil.copytree(old_run, tmp_path / "old")


def begun(search, root):
    """A search's folder with what it learns from."""
    sources = learnt_sources(search, RunFolder(root))
    folder = open_folder(root, search)
    keep_sources(search, folder, sources)
    return folder, overlapping(search, sources)


def test_networks_of_an_old_run_become_points_with_costs_as_this_search_counts_them(tiny, old_run, tmp_path):
    search = tiny(f"search.learn_from=[{old_run}]", "space.image_size=32")
    _, sources = begun(search, tmp_path / "new")
    (related,) = sources.related
    assert len(related.values) == len(related.params) == 12
    assert sources.remarks == [f"search.learn_from: 12 of the 12 trained networks of {old_run} lie in this space"]
    params, costs = related.params[0], related.costs[0]
    architecture = search.space.draw(lambda name, options: params.get(name, options[0]))
    assert costs == (search.cost(architecture).macs,)


def test_a_bare_path_will_do_and_one_place_counts_once(tiny, old_run, tmp_path):
    assert tiny(f"search.learn_from={old_run}").search.learn_from == (str(old_run),)
    _, sources = begun(tiny(f"search.learn_from=[{old_run}, {old_run}/../{old_run.name}]"), tmp_path / "new")
    assert len(sources.related) == 1


def test_of_another_space_what_overlaps_is_used_and_said(tiny, old_run, tmp_path):
    _, sources = begun(tiny(f"search.learn_from=[{old_run}]", "space.stages.1.mixer=[pool, conv]"), tmp_path / "new")
    (remark,) = sources.remarks
    inside = int(remark.split(" of the 12")[0].split()[-1])
    assert 0 < inside < 12
    assert len(sources.related) == (inside >= FEWEST_POINTS)


def test_where_nothing_overlaps_nothing_is_learnt_and_that_is_said(tiny, old_run, tmp_path):
    _, sources = begun(tiny(f"search.learn_from=[{old_run}]", "space.stages.1.width=[24]"), tmp_path / "new")
    assert sources.related == []
    assert "0 of the 12" in sources.remarks[0]
    assert "too few to learn from" in sources.remarks[0]


def test_a_run_that_still_runs_gives_what_has_ended_and_says_so(tiny, tmp_path):
    search = tiny(*OLD)
    study = Study(search, open_folder(tmp_path / "old", search), manifest_hash="feed")
    finish_all(study)
    more = tiny("search.trials=14", "search.proposal_seed=3")
    study = Study(more, open_folder(tmp_path / "old", more), manifest_hash="feed")
    study.propose()
    _, sources = begun(tiny(f"search.learn_from=[{tmp_path / 'old'}]"), tmp_path / "new")
    assert len(sources.related[0].values) == 12
    assert "1 of its trials had not ended" in sources.remarks[0]


def test_the_copy_counts_whatever_becomes_of_the_old_run(tiny, copied, tmp_path):
    search = tiny(f"search.learn_from=[{copied}]")
    folder, before = begun(search, tmp_path / "new")
    shutil.rmtree(copied)
    assert overlapping(search, learnt_sources(search, folder)) == before == sources_of(search, folder)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("missing", "must be folders of runs, or of networks that were retrained, but .*missing is neither. Mend the path"),
        ("new", "must be other runs, but .*new is this one"),
    ],
)
def test_a_source_that_cannot_be_meant_is_refused_before_anything_is_written(tiny, tmp_path, where, message):
    search = tiny(f"search.learn_from=[{tmp_path / where}]")
    with pytest.raises(ConfigError, match=f"search.learn_from: {message}"):
        learnt_sources(search, RunFolder(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_a_run_of_another_version_is_refused_with_its_version(tiny, copied, tmp_path):
    text = (copied / "search.yaml").read_text()
    (copied / "search.yaml").write_text(text.replace("nas: 0.1.0", "nas: 9.9.9").replace("sampler:", "sampler_of_tomorrow:"))
    with pytest.raises(ConfigError, match=r"search.learn_from: .*sampler_of_tomorrow[\s\S]*written by nas 9.9.9"):
        learnt_sources(tiny(f"search.learn_from=[{copied}]"), RunFolder(tmp_path / "new"))


def test_a_damaged_record_is_refused(tiny, copied, tmp_path):
    (copied / "study.db").write_bytes(b"no database")
    with pytest.raises(ConfigError, match=r"search.learn_from: .*study.db: cannot be read"):
        learnt_sources(tiny(f"search.learn_from=[{copied}]"), RunFolder(tmp_path / "new"))


def test_a_damaged_copy_is_refused(tiny, old_run, tmp_path):
    search = tiny(f"search.learn_from=[{old_run}]")
    folder, _ = begun(search, tmp_path / "new")
    (folder.root / LEARNT_FILE).write_text('{"sources": [{"path": 3}]}')
    with pytest.raises(NasError, match=LEARNT_FILE):
        learnt_sources(search, folder)


def test_only_the_sampler_that_learns_may_be_given_sources(tiny):
    with pytest.raises(ConfigError, match=r"search\.learn_from: needs the sampler front"):
        tiny("search.learn_from=[runs/old]", "search.sampler=tpe")


def test_retrained_networks_are_a_source(tiny, old_run, tmp_path):
    search = tiny(*OLD)
    records = Study(search, open_folder(shutil.copytree(old_run, tmp_path / "old"), search), manifest_hash="feed").records
    for record in records[:7]:
        folder = tmp_path / "retrained" / str(record.number)
        folder.mkdir(parents=True)
        setup = {"architecture": record.architecture.to_dict(), "seed": 0}
        (folder / "result.json").write_text(json.dumps({"accuracy": 0.9 - record.number / 100, "setup": setup}))
    _, sources = begun(tiny(f"search.learn_from=[{tmp_path / 'retrained'}]"), tmp_path / "new")
    assert sources.related[0].values == tuple(0.9 - record.number / 100 for record in records[:7])


def test_a_result_that_no_retraining_wrote_is_refused(tiny, tmp_path):
    (tmp_path / "result.json").write_text('{"accuracy": 0.5}')
    with pytest.raises(ConfigError, match=r"search.learn_from: .*result.json: must be what a retraining wrote"):
        learnt_sources(tiny(f"search.learn_from=[{tmp_path}]"), RunFolder(tmp_path / "new"))


def test_a_search_begins_with_the_front_that_another_found(tiny, old_run, tmp_path):
    search = tiny(f"search.learn_from=[{old_run}]", "search.trials=10")
    folder, sources = begun(search, tmp_path / "new")
    study = Study(search, folder, manifest_hash="feed", history=sources.history(search))
    finish_all(study)
    by = [record.why.by for record in study.records]
    assert by[0] == "learnt"
    assert "start" in by


@pytest.mark.thorough
def test_a_killed_search_that_learns_goes_on_as_an_unkilled_one(tiny, old_run, tmp_path):
    search = tiny(f"search.learn_from=[{old_run}]", "search.trials=12")

    def study_in(name: str) -> Study:
        folder, sources = begun(search, tmp_path / name)
        return Study(search, folder, manifest_hash="feed", history=sources.history(search))

    unkilled = study_in("whole")
    finish_all(unkilled)
    for _ in range(6):  # a new driver for each proposal, killed once while it trained
        interrupted = study_in("killed").propose()
        again = study_in("killed")
        assert again.propose() == interrupted
        again.report(interrupted.number, epoch(1, accuracy_of(interrupted.architecture)))
        again.finish(interrupted.number, accuracy=accuracy_of(interrupted.architecture), seconds=1.0)
    finish_all(study_in("killed"))
    assert told(study_in("killed")) == told(unkilled)
