"""A search on a device whose times are known: what is foretold, limited, measured at the end, and written down."""

import io
import shutil

import pytest
from rich.console import Console

from nas.devices.device_file import read_device_file
from nas.devices.measuring import Times
from nas.devices.rounds import Timed
from nas.errors import ConfigError, Infeasible, NasError
from nas.report.devices import show_device
from nas.report.terminal import show_front
from nas.results.front import load
from nas.run.dry_run import show_space
from nas.run.folder import check_folder, open_folder, plain_search, read_run
from nas.run.reading import check_record, read
from nas.run.settings.search import check_possible, read_search
from nas.search.study import Study
from nas.winners import on_device
from nas.winners.on_device import measure_devices, measure_front
from tests.device_files import device_file, known_ms
from tests.studies import finish_all

SPACE = read_search("tiny").space
ON_LAPTOP = "latency_ms@laptop"


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    """A device file on disk."""
    path = tmp_path_factory.mktemp("devices") / "laptop.json"
    device_file(SPACE).write(path)
    return path


@pytest.fixture
def search_of(tiny, laptop):
    def made(*settings):
        given = [f"devices.laptop={laptop}", f"objectives=[accuracy, {ON_LAPTOP}]", "search.trials=10", "search.sampler=random"]
        return tiny(*given, "proxy.rungs=[]", *settings)

    return made


@pytest.fixture
def finished(search_of, tmp_path):
    """A run of ten made-up trainings under a limit."""

    def run(*settings):
        search = search_of(*settings)
        study = Study(search, open_folder(tmp_path / "run", search), manifest_hash="feed")
        finish_all(study)
        study.close()
        return search, tmp_path / "run"

    return run


@pytest.fixture
def here(monkeypatch):
    """This machine as the made-up device, on which some networks take longer than their weights say."""

    def machine(slower=1.0, *, speed=1.0, who=lambda architecture: True, peak=None):
        def times_of(architectures, conditions, **_):
            factor = lambda i, a: speed * (slower if i < len(architectures) - on_device.ANCHORS - 1 and who(a) else 1.0)  # noqa: E731
            ms = [known_ms(a, SPACE) * factor(i, a) for i, a in enumerate(architectures)]
            return [Times(Timed(t, 0.99 * t, 1.01 * t, 5), peak) for t in ms]

        monkeypatch.setattr(on_device, "times_of", times_of)
        monkeypatch.setattr(on_device, "differences", lambda file: [])
        monkeypatch.setattr(on_device, "check_same_machine", lambda file, where: None)

    return machine


def output():
    return Console(file=io.StringIO(), width=200)


def test_a_limit_is_held_against_the_upper_end_of_the_interval(search_of, finished):
    limit = 3.0
    search, root = finished(f"constraints.latency_ms.laptop={limit}")
    records = [r for r in read(root).records if r.accuracy is not None]
    assert records and all(r.cost.at_most(ON_LAPTOP) <= limit for r in records)
    assert any(search.cost(r.architecture).of(ON_LAPTOP) == r.cost.of(ON_LAPTOP) < r.cost.at_most(ON_LAPTOP) for r in records)


def test_what_was_foretold_is_in_the_record_the_tables_and_the_front(finished):
    _, root = finished()
    trials = load(root)
    assert trials[ON_LAPTOP].notna().all() and (trials[f"{ON_LAPTOP}:low"] < trials[f"{ON_LAPTOP}:high"]).all()
    shown = output()
    show_front((root,), shown, x=ON_LAPTOP)
    assert "latency on laptop (ms a batch, foretold)" in shown.file.getvalue() and "ms laptop" in shown.file.getvalue()


def test_the_run_goes_on_elsewhere_without_the_device_file(finished, laptop, tmp_path):
    search, root = finished()
    shutil.move(root, tmp_path / "moved")
    again = read_run(tmp_path / "moved")[1]
    assert again.devices == search.devices and again.cost(read(tmp_path / "moved").records[0].architecture).estimates
    assert plain_search(again)["devices"] == {"laptop": f"devices/laptop-{search.devices['laptop'].key}.json"}


def test_a_killed_search_by_latency_goes_on(search_of, tmp_path):
    search, root = search_of("search.trials=3"), tmp_path / "run"
    killed = Study(search, open_folder(root, search), manifest_hash="feed")
    proposal = killed.propose()
    folder = check_folder(root, search)
    check_record(search, folder, manifest_hash="feed")
    again = Study(search, folder, manifest_hash="feed")
    assert again.propose() == proposal
    assert len(finish_all(again)) == 2


def test_another_device_file_is_another_search(finished, tiny, laptop, tmp_path):
    search, root = finished()
    device_file(SPACE, seed=3).write(tmp_path / "other.json")
    other = search.model_copy(update={"devices": {"laptop": device_file(SPACE, seed=3)}})
    with pytest.raises(ConfigError, match=r"devices.laptop: devices/laptop-.* in the run, now devices/laptop-"):
        open_folder(root, other)


@pytest.mark.parametrize(
    "settings, message",
    [
        (["objectives=[accuracy, latency_ms]"], "unknown objective 'latency_ms'; did you mean latency_ms@laptop"),
        (["objectives=[accuracy, latency_ms@phone]"], "unknown objective 'latency_ms@phone'"),
        (["constraints.latency_ms.phone=3"], "constraints.latency_ms.phone: unknown device 'phone'"),
        (["constraints.latency_ms.laptop=fast"], "constraints.latency_ms.laptop.max: must be a number"),
        (["constraints.latency_ms.laptop=-1"], "constraints.latency_ms.laptop.max: must be greater than 0"),
        (["constraints.latency_ms.laptop={min: 3, max: 2}"], "min must not be above max"),
        (["devices.laptop=missing.json"], "missing.json: cannot be read"),
        (["devices.laptop=3"], "devices.laptop: "),
        (["space.image_size=64"], "devices.laptop: was measured at 32 px and 10 classes, but asked about 64 px"),
        (["space.stages.1.mixer=[pool, dwconv]"], "devices.laptop: was measured for another space"),
    ],
)
def test_settings_that_no_device_file_can_answer_are_refused(search_of, settings, message):
    with pytest.raises(ConfigError) as refused:
        search_of(*settings)
    assert message in str(refused.value)


def test_a_limit_that_nothing_meets_is_told_with_the_smallest_that_is_reached(search_of):
    with pytest.raises(Infeasible, match=r"constraints.latency_ms.laptop asks for max 0.2; the space reaches \d"):
        check_possible(search_of("constraints.latency_ms.laptop=0.2"))


def test_a_dry_run_says_which_share_meets_the_limit_and_how_fast_it_gets(search_of):
    shown = output()
    show_space(search_of("constraints.latency_ms.laptop=3"), shown)
    text = " ".join(shown.file.getvalue().split())
    assert f"{ON_LAPTOP} <= 3.0" in text and "of the draws meet its limit" in text
    assert "the smallest that the space reaches is" in text and "40 networks were measured" in text
    assert "ms laptop, feasible" in text


def test_the_front_is_measured_and_foretold_stands_beside_it(finished, here):
    search, root = finished()
    here()
    shown = output()
    measure_devices(search, root=root, console=shown)
    assert "median difference of foretold and measured: " in shown.file.getvalue()
    measured = load(root)[f"{ON_LAPTOP}:measured"].dropna()
    assert len(measured)
    show_front((root,), shown)
    assert "measured laptop" in shown.file.getvalue()


def test_times_are_those_of_the_files_own_day(finished, here):
    search, root = finished()
    here(speed=1.4)  # all networks alike
    taken = measure_front(read(root), search.devices["laptop"], output(), name="laptop")
    assert all(
        each.ms == pytest.approx(known_ms(read(root).record(each.trial).architecture, SPACE), rel=0.02) for each in taken
    )


@pytest.mark.thorough
def test_one_that_takes_longer_than_its_limit_leaves_the_front_and_the_next_is_measured(finished, here):
    search, root = finished("constraints.latency_ms.laptop=4")
    best = load(root).query("within_limits").sort_values("accuracy").iloc[-1]
    key = best["key"]
    here(3.0, who=lambda architecture: architecture.key == key)
    shown = output()
    taken = measure_front(read(root), search.devices["laptop"], shown, name="laptop")
    above = [each.trial for each in taken if each.is_above]
    assert int(best["trial"]) in above and f"above their limit, and so not on the front: {above[0]}" in shown.file.getvalue()
    trials = load(root).set_index("trial")
    assert not trials.loc[above, "within_limits"].any()
    again = output()
    show_front((root,), again)
    assert f"measured above constraints.latency_ms.laptop, and so not on the front: trial {above[0]}" in again.file.getvalue()
    front = [each.trial for each in taken if not each.is_above]
    assert front and trials.loc[front, "within_limits"].all()
    assert all(each.trial in trials[f"{ON_LAPTOP}:measured"].dropna().index for each in taken)


def test_what_was_measured_is_not_measured_again(finished, here, monkeypatch):
    search, root = finished()
    here()
    measure_front(read(root), search.devices["laptop"], output(), name="laptop")
    monkeypatch.setattr(on_device, "times_of", lambda *a, **k: pytest.fail("measured again"))
    measure_front(read(root), search.devices["laptop"], output(), name="laptop")


def test_a_device_that_is_not_this_one_is_told_and_the_search_is_no_worse_for_it(finished):
    search, root = finished()
    shown = output()
    measure_devices(search, root=root, console=shown)
    assert "device laptop is not this one" in shown.file.getvalue() and "--device-file laptop.json" in shown.file.getvalue()
    with pytest.raises(NasError, match="is of another device than this one"):
        measure_front(read(root), search.devices["laptop"], shown, name="laptop")


def test_a_machine_too_noisy_is_told_at_the_end_of_a_search(finished, here, monkeypatch):
    search, root = finished()
    here()

    def noisy(*_, **__):
        raise NasError("this machine is too noisy to measure: ±40%")

    monkeypatch.setattr(on_device, "times_of", noisy)
    shown = output()
    measure_devices(search, root=root, console=shown)
    assert "device laptop: the front was not measured: this machine is too noisy" in shown.file.getvalue()


def test_three_objectives_with_a_device_will_do(search_of):
    assert search_of(f"objectives=[accuracy, {ON_LAPTOP}, params]").objectives[1:] == (ON_LAPTOP, "params")


def test_working_memory_stands_beside_the_times_where_the_runtime_tells_it(finished, here):
    search, root = finished()
    here(peak=2_500_000)
    shown = output()
    measure_front(read(root), search.devices["laptop"], shown, name="laptop")
    assert "peak memory" in shown.file.getvalue() and "2.50 MB" in shown.file.getvalue()


def test_a_device_file_says_what_memory_was_measured_and_what_the_closed_form_means(laptop):
    plain = read_device_file(laptop)
    networks = tuple(network.model_copy(update={"peak_bytes": 2_500_000}) for network in plain.networks)
    shown = output()
    show_device(plain.model_copy(update={"networks": networks}), shown, path=laptop)
    assert "working memory at its widest, weights aside: 2.50 MB to 2.50 MB a batch; activation_bytes" in shown.file.getvalue()
    assert "of an ideal compiler" in shown.file.getvalue()


def test_families_are_scaled_to_a_devices_latency(tmp_path):
    device_file(read_search("hybrid").space).write(tmp_path / "laptop.json")
    families = "{families: [poolformerv2, caformer], at: 400, by: latency_ms@laptop}"
    search = read_search("hybrid", settings=[f"devices.laptop={tmp_path / 'laptop.json'}", f"baselines={families}"])
    assert search.baselines == ("poolformerv2@400-latency_ms@laptop", "caformer@400-latency_ms@laptop")
    assert all(search.cost(search.design(name)).of(ON_LAPTOP) == pytest.approx(400, rel=0.1) for name in search.baselines)
    shown = output()
    show_space(search, shown)
    assert "ms laptop" in shown.file.getvalue()
    with pytest.raises(ConfigError, match="known in a search alone that names its file in devices"):
        read_search("hybrid", settings=["baselines=[caformer@400-latency_ms@laptop]"])


@pytest.mark.thorough
def test_runs_whose_device_files_differ_are_not_put_on_one_front(search_of, tmp_path):
    roots = []
    for seed in (0, 3):
        file = device_file(SPACE, seed=seed)
        search = search_of().model_copy(update={"name": f"run{seed}", "devices": {"laptop": file}})
        study = Study(search, open_folder(tmp_path / search.name, search), manifest_hash="feed")
        finish_all(study)
        study.close()
        roots.append(tmp_path / search.name)
    with pytest.raises(NasError, match=r"devices: latency_ms@laptop by the file \w+ and latency_ms@laptop by the file \w+"):
        show_front(tuple(roots), output())


@pytest.mark.parametrize("name", ["a.b", "a b", "-x", "x" * 41])
def test_a_device_is_called_by_a_name_that_fits_into_paths(tiny, laptop, name):
    with pytest.raises(ConfigError, match="must be a name of letters, digits, _ and -, at most 40"):
        tiny(f"devices={{{name}: {laptop}}}")
