"""The report: what it says of a run whose answer is known, that it needs no network, and how it behaves in a browser."""

import json
import re
import shlex
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import sync_playwright
from rich.console import Console

from nas.errors import ConfigError, NasError
from nas.files import write_whole
from nas.report.advice import advise
from nas.report.compare import compared, show_comparison
from nas.report.importance import at_equal_macs, effects, importances
from nas.report.page import write_report
from nas.report.words import _at_rungs, _range, _top, unbroken
from nas.results.course import flat_for, time_by_fate, volumes
from nas.results.front import front, load
from nas.results.noise import Noise
from nas.run.folder import RunFolder
from nas.run.reading import read
from nas.run.settings.search import read_search
from nas.units import count
from tests.device_files import device_file

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "report"))
from synthetic import synthesise

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A made-up run of 300 trials in which attention and conv are good and identity is bad; it kept the front's weights."""
    root = tmp_path_factory.mktemp("made") / "made"
    synthesise(root, trials=300, seed=7)
    for number in front(load(root))["trial"]:
        write_whole(RunFolder(root).weights(number), "")
    return root


@pytest.fixture(scope="module")
def page(made):
    """Its report as text."""
    return write_report(made, Console(quiet=True)).read_text(encoding="utf-8")


def row(number, state, accuracy, macs, seconds=1.0, **facts):
    return {"trial": number, "state": state, "accuracy": accuracy, "macs": macs, "seconds": seconds, "ended": number,
            "within_limits": True, "baseline": None, "epochs": 1, "repeated": 0.0,
            "replicates": 0, "replicates_failed": 0, "replicates_seconds": 0.0, **facts}  # fmt: skip


def test_the_hypervolume_grows_as_trainings_end_and_failures_cost_time_too():
    table = pd.DataFrame(
        [row(0, "failed", None, 5, 3.0), row(1, "complete", 0.5, 5), row(2, "complete", 0.25, 9), row(3, "complete", 1.0, 9)]
    )
    course = volumes(table, ("macs",), [10])
    assert list(course.hypervolume) == pytest.approx([0, 0.25, 0.25, 0.3])  # 0.5 * 0.5, then 0.5 * 0.1 more
    assert list(course.seconds) == [3, 4, 5, 6]
    assert flat_for(course) == 0 and flat_for(course.iloc[:3]) == 1
    assert list(time_by_fate(table).what) == ["trained in full", "failed"] and list(time_by_fate(table).share) == [0.5, 0.5]


def test_trials_that_rungs_stopped_and_that_are_told_last_do_not_make_a_search_look_flat():
    risen = [row(i, "complete", 0.5 + 0.02 * i, 5, ended=i) for i in range(14)]
    stopped = [row(20 + i, "stopped", None, 5, ended=50) for i in range(30)]
    course = volumes(pd.DataFrame([*risen, *stopped]), ("macs",), [10])
    assert flat_for(course) == 30 and flat_for(course[course["whole"]]) == 0


def test_accuracy_that_follows_from_macs_alone_leaves_nothing():
    table = pd.DataFrame([row(i, "complete", 0.1 * i, 10.0**i) for i in range(6)])
    assert at_equal_macs(table).abs().max() < 1e-9


@pytest.mark.thorough
def test_the_choice_that_was_made_to_matter_is_found_and_the_bad_option_is_advised_against(made):
    reading, trials = read(made), load(made)
    found = importances(trials, reading.search)
    assert set(found.axis[:2]) == {"stage3.mixer", "stage4.mixer"}
    course = volumes(trials, ("macs",), [1.85e9])
    lines = advise(
        trials,
        front(trials),
        reading.search,
        effects=effects(trials, reading.search),
        importances=found,
        course=course,
        calibrated=False,
    )
    assert any(a.what == "drop" and a.text.startswith("stage4.mixer: think of dropping identity") for a in lines)
    assert lines[-1].what == "measure"


@pytest.mark.thorough
def test_the_page_stands_alone_and_says_what_was_found(made, page):
    markup = page[: page.index('<script type="application/json"')]
    assert not re.search(r'(src|href)="(?!#|data:)', markup)
    assert "of 300 architectures were trained in full" in markup
    assert "never calibrated" in markup and "synthetic" in markup
    assert 4e6 < len(page) < 8e6
    for name in ("front.png", "hypervolume.png", "importance.png", "mixers.png"):
        assert (made / name).read_bytes().startswith(b"\x89PNG")


def test_the_figures_are_strict_json(page):
    text = page.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    data = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the figures"))
    assert {"front", "by_trainings", "curves", "importance", "mixers", "pattern", "parallel"} <= set(data["figures"])
    assert set(data["kept"]) == set(front(load(Path(shlex.split(data["commands"]["export"])[2])))["trial"])


@pytest.mark.thorough
def test_two_runs_are_compared_at_equal_hypervolume(made, tmp_path):
    synthesise(tmp_path / "long", trials=600, seed=1)
    (short, long), remarks = compared((made, tmp_path / "long"))
    assert remarks == [] and short.low <= short.volume and long.low <= long.volume <= long.high
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    show_comparison((made, tmp_path / "long"), console, picture=tmp_path / "fronts.png")
    text = console.export_text()
    assert "was reached by made after" in text and "no verdict on their searches" in text
    assert (tmp_path / "fronts.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(NasError, match=r"fronts\.jpg: must end in \.png"):
        show_comparison((made, tmp_path / "long"), console, picture=tmp_path / "fronts.jpg")


def test_a_run_is_not_compared_with_itself(made):
    with pytest.raises(NasError, match="with others, not with itself"):
        compared((made, made.parent / made.name))


def several(tmp_path, *, number, settings=()):
    """Runs of one search with other seeds."""
    roots = tuple(tmp_path / f"{len(settings)}-{seed}" for seed in range(number))
    for seed, root in enumerate(roots):
        synthesise(root, trials=40, seed=seed, settings=(f"search.seed={seed}", "search.split_seed=0", *settings))
    return roots


def printed_of(roots, capsys):
    show_comparison(roots, Console(width=200))
    return capsys.readouterr().out


@pytest.mark.thorough
def test_seeds_of_one_search_show_how_far_they_lie_apart(tmp_path, capsys):
    assert "All are one search with other seeds: hypervolume" in printed_of(several(tmp_path, number=3), capsys)


def test_replicates_and_the_place_of_the_data_make_no_other_search_of_a_run(tmp_path, capsys):
    one, other = several(tmp_path, number=2)
    text = (other / "search.yaml").read_text()
    changed = text.replace("replicates: 0", "replicates: 3").replace("data: digits", "data: /elsewhere/digits")
    assert changed.count("replicates: 3") == changed.count("/elsewhere/digits") == 1
    (other / "search.yaml").write_text(changed)
    assert "All are one search with other seeds" in printed_of((one, other), capsys)


@pytest.mark.thorough
def test_two_searches_with_several_seeds_each_are_judged_by_what_their_seeds_leave_open(tmp_path, capsys):
    one, other = several(tmp_path, number=3), several(tmp_path, number=3, settings=("search.sampler=random",))
    out = printed_of((*one, *other), capsys)
    assert "mean hypervolume of 0-0 and 0-1 and 0-2 minus that of 1-0 and 1-1 and 1-2" in out
    assert "no difference is shown, seeds alone could bring that" in out  # the accuracies are made up by the same rule


@pytest.mark.thorough
def test_runs_that_differ_in_the_split_alone_are_told_how_to_share_it(tmp_path):
    roots = several(tmp_path, number=2)
    for seed, root in enumerate(roots):
        text = (root / "search.yaml").read_text()
        (root / "search.yaml").write_text(text.replace("split_seed: 0", f"split_seed: {seed}"))
    with closing(sqlite3.connect(roots[1] / "study.db")) as connection, connection:
        connection.execute("UPDATE trial_user_attributes SET value_json = '\"other\"' WHERE key = 'manifest'")
    with pytest.raises(NasError, match=r"Search again, into a new --out, with --set search\.split_seed=0, beside any --seed"):
        compared(roots)


def test_runs_at_another_resolution_are_refused_with_the_difference(made, tmp_path):
    synthesise(tmp_path / "other", trials=3, seed=0, settings=("proxy.image_size=48",))
    with pytest.raises(NasError, match=r"must share data, resolution and objectives(.|\n)*image_size: .*68 px and .*48 px"):
        compared((made, tmp_path / "other"))
    with pytest.raises(NasError, match="must share data"):
        write_report(made, Console(quiet=True), against=(tmp_path / "other",))


@pytest.mark.thorough
def test_the_fronts_of_other_runs_are_lines_on_the_same_page(tmp_path):
    mine, other = several(tmp_path, number=2)
    page = write_report(mine, Console(quiet=True), against=(other,), out=tmp_path / "report").read_text()
    data = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    for figure in (data["figures"]["front"], *data["axes"].values()):
        lines = [trace for trace in figure["data"] if trace.get("name", "").startswith(f"{other.name} (")]
        assert len(lines) == 1 and lines[0]["mode"] == "lines" and len(lines[0]["x"])
    best = front(load(other))
    shown = next(trace for trace in data["figures"]["front"]["data"] if trace.get("name", "").startswith(f"{other.name} ("))
    assert shown["x"] == best["macs"].tolist()


def test_a_report_is_not_written_into_what_looks_like_a_file(made, tmp_path):
    with pytest.raises(ConfigError, match=r"--out: must be a folder.*but got .*x\.html"):
        write_report(made, Console(quiet=True), out=tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


def test_no_line_ends_between_a_number_and_its_unit():
    assert unbroken("from 316 M MACs to 98.1 % in 3 h 12 min, 4 of 43") == (
        "from 316\u00a0M\u00a0MACs to 98.1\u00a0% in 3\u00a0h 12\u00a0min, 4 of 43"
    )


def test_every_trial_is_on_the_page_with_its_settings_curve_and_costs(made, page):
    text = page.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    data, trials = json.loads(text), load(made)
    assert [row["trial"] for row in data["trials"]] == trials["trial"].tolist()
    best = front(trials).iloc[0]
    row = next(row for row in data["trials"] if row["trial"] == best["trial"])
    assert row["stages"] == best["stages"] and row["accuracy"] == pytest.approx(best["accuracy"], abs=1e-4)
    assert [block["mixer"] for block in row["blocks"]] == [stage.mixer for stage in best["architecture"].stages]
    assert row["curve"] and row["costs"]["MACs"]


def test_a_reader_without_scripts_sees_pictures_and_every_word_of_the_tiles_is_explained(page):
    assert page.count('<img src="data:image/png;base64,') == 4 and "<noscript>" in page
    assert all(f"<dt>{word}</dt>" in page for word in ("hypervolume", "front", "knee", "rung", "proxy", "MACs"))


def test_trials_that_still_wait_at_a_rung_are_counted():
    states = pd.Series({"stopped": 3, "paused": 2})
    assert _at_rungs(states) == "3 stopped at a rung, 2 paused at a rung"
    assert _at_rungs(pd.Series({"stopped": 3})) == "3 stopped at a rung"


# In a browser


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium of this machine."""
    if CHROMIUM is None:
        pytest.skip("the page was not opened: no Chromium on this machine, apt-get install chromium")
    with sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--enable-unsafe-swiftshader"])
        yield found
        found.close()


def opened(browser, path: Path, *, scheme: str = "light"):
    """The page once its figures are drawn, and what the console complained of."""
    look = {"color_scheme": scheme, "reduced_motion": "reduce", "viewport": {"width": 1180, "height": 900}}
    tab = browser.new_context(**look).new_page()  # nothing scrolls by itself while the mouse is under way
    complaints = []
    tab.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda e: complaints.append(str(e)))
    tab.on("request", lambda r: complaints.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else None)
    tab.goto(f"file://{path}", timeout=120_000)
    tab.wait_for_selector("body[data-ready=yes]", timeout=120_000)
    return tab, complaints


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_loads_without_complaint_and_marks_a_network_by_mouse_and_by_keyboard(browser, made, page, scheme):
    tab, complaints = opened(browser, made / "report.html", scheme=scheme)
    first = front(load(made)).iloc[0]
    tab.focus(f"button[data-mark='{first.trial}']")
    tab.keyboard.press("Enter")
    assert f"nas export {made} --trial {first.trial} " in tab.inner_text("#command")
    at = tab.evaluate(
        """() => { const d = document.getElementById('front'), f = d._fullLayout, t = d.data[2];
           d.scrollIntoView({behavior: 'instant'});
           const r = d.getBoundingClientRect();
           const [x, y] = [f.xaxis, f.yaxis];
           return [r.left + x._offset + x.d2p(t.x[1]), r.top + y._offset + y.d2p(t.y[1]), t.customdata[1]] }"""
    )
    tab.mouse.move(at[0] - 40, at[1])
    tab.mouse.move(*at[:2], steps=8)
    tab.wait_for_function(f"document.querySelector('#front .hoverlayer').textContent.includes('trial {at[2]}')")
    tab.mouse.down()
    tab.mouse.up()
    tab.wait_for_function(f"document.getElementById('command').textContent.includes('--trial {at[2]} ')")
    tab.focus("#front")
    for key, which in (("Home", 0), ("ArrowRight", 1), ("End", -1)):
        tab.keyboard.press(key)
        done = load(made)
        cheapest = done[done["state"] == "complete"].sort_values("macs", kind="stable")["macs"]
        shown = tab.inner_text("#marked strong").removeprefix("Trial ")
        assert int(done.set_index("trial").loc[int(shown), "macs"]) == cheapest.iloc[which]
    assert complaints == []


@pytest.mark.slow
def test_all_trials_are_sorted_filtered_and_downloaded_and_no_button_uploads(browser, made, page):
    tab, complaints = opened(browser, made / "report.html")
    buttons = {b.get_attribute("data-title") for b in tab.query_selector_all(".modebar-btn")}
    assert buttons == {"Download plot as a PNG", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"} or buttons == {
        "Download plot as a png", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"
    }  # fmt: skip
    tab.click("#all-trials th[data-key=macs] button")
    cells = [row.inner_text() for row in tab.query_selector_all("#all-trials tbody tr td:nth-child(5)")]
    macs = sorted(load(made)["macs"])
    assert cells[0] == count(macs[0]) and len(cells) == min(500, len(macs))
    tab.fill("#filter", "failed")
    number = int((load(made)["state"] == "failed").sum())
    assert tab.inner_text("#count").startswith(f"{number} of 300 trials")
    with tab.expect_download() as download:
        tab.click("#download")
    table = pd.read_csv(download.value.path())
    assert len(table) == number and set(table["state"]) == {"failed"}
    assert complaints == []


@pytest.mark.slow
def test_nothing_is_cut_on_a_telephone(browser, made, page):
    tab, _ = opened(browser, made / "report.html")
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.reload()
    tab.wait_for_selector("body[data-ready=yes]", timeout=120_000)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert not tab.is_visible("#parallel")


def on_a_device(root: Path) -> Path:
    """A made-up run of the hybrid space with a device file."""
    space = read_search("hybrid").space
    device_file(space).write(root / "phone.json")
    synthesise(root / "run", trials=60, seed=7, settings=[f"devices.phone={root / 'phone.json'}"])
    return root / "run"


@pytest.mark.thorough
def test_the_front_is_drawn_against_every_cost_and_which_network_is_on_which_is_told(tmp_path):
    root = on_a_device(tmp_path)
    text = write_report(root, Console(quiet=True)).read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)[1])
    labels = ["parameters", "activation memory of an ideal compiler (bytes)", "latency on phone (ms a batch, foretold)"]
    assert list(data["axes"]) == labels
    trials = load(root)
    for label, cost in zip(labels, ["params", "activation_bytes", "latency_ms@phone"], strict=True):
        marks = next(trace for trace in data["axes"][label]["data"] if trace.get("name") == "front")
        assert sorted(marks["customdata"]) == sorted(front(trials, cost, "expected")["trial"])
        assert "text" not in marks  # what is said of a trial stands in the page once
    assert "Kendall tau" in text and text.count("<td>on it</td>") >= len(front(trials, "macs", "expected"))


@pytest.mark.slow
def test_the_reader_switches_between_costs(browser, tmp_path):
    root = on_a_device(tmp_path)
    tab, complaints = opened(browser, write_report(root, Console(quiet=True)))
    tab.select_option("#axis", label="latency on phone (ms a batch, foretold)")
    best = front(load(root), "latency_ms@phone", "expected")
    drawn = "document.getElementById('front').data[3]"
    tab.wait_for_function(f"{drawn}.x.length === {len(best)} && {drawn}.customdata[0] === {best['trial'].iloc[0]}")
    said = tab.evaluate(f"{drawn}.text[0]")
    assert said.startswith("<b>trial ") and "ms phone" in said
    tab.focus("button[data-mark]")
    tab.keyboard.press("Enter")
    assert complaints == []


@pytest.mark.slow
def test_five_thousand_trials_stay_smooth(browser, tmp_path):
    synthesise(tmp_path / "many", trials=5000, seed=0)
    tab, complaints = opened(browser, write_report(tmp_path / "many", Console(quiet=True)))
    box = tab.locator("#front").bounding_box()
    tab.evaluate(
        """() => { window.slow = []; let last = performance.now();
           const f = (n) => { window.slow.push(n - last); last = n; requestAnimationFrame(f) }; requestAnimationFrame(f) }"""
    )
    for i in range(30):
        tab.mouse.move(box["x"] + 100 + 20 * i, box["y"] + 100 + 8 * i)
    waits = sorted(tab.evaluate("window.slow"))
    assert waits[len(waits) // 2] < 100 and complaints == []


def test_a_gap_is_advised_to_be_looked_into_only_where_chance_would_rarely_leave_it(made):
    search, effects_ = read(made).search, pd.DataFrame(columns=["axis", "option", "trials", "effect", "best"])
    nothing = pd.DataFrame(columns=["axis", "share", "chance"])

    def gaps(macs):
        best = pd.DataFrame([row(i, "complete", 0.5 + i / 100, 1e6 * m) for i, m in enumerate(macs)])
        best = best.assign(expected=best["accuracy"], params=1, activation_bytes=1)
        best = best.assign(accuracy_low=float("nan"), accuracy_high=float("nan"))
        found = advise(
            best, best, search, effects=effects_, importances=nothing, course=volumes(best, ("macs",), [1e9]), calibrated=True
        )
        return [line.text for line in found if line.what == "explore"]

    assert gaps([100, 110, 120, 300]) == []  # three steps: as wide a gap comes by chance
    assert gaps([100, 104, 108, 112, 116, 120, 124, 128, 132, 600]) == [
        "Nothing on the front lies between 132 M and 600 M MACs: search there with constraints.macs."
    ]


@pytest.mark.thorough
def test_no_choice_is_said_to_matter_where_accuracies_are_shuffled(made):
    trials, search = load(made), read(made).search
    done = trials["state"] == "complete"
    said = 0
    for seed in range(3):
        shuffled = trials.copy()
        shuffled.loc[done, "accuracy"] = trials.loc[done, "accuracy"].sample(frac=1, random_state=seed).to_numpy()
        found = importances(shuffled, search)
        said += bool((found["share"] > found["chance"]).any())
    assert said <= 1


def test_fronts_are_compared_in_the_costs_of_their_searches(tmp_path, capsys):
    roots = tmp_path / "a", tmp_path / "b"
    for seed, root in enumerate(roots):
        synthesise(root, trials=60, seed=seed, settings=("objectives=[accuracy, params]",))
    show_comparison(roots, Console(width=60))
    out = capsys.readouterr().out
    for i, root in enumerate(roots):
        assert re.search(r"on its front +(.*)", out)[1].split()[i] == str(len(front(load(root), "params")))
    assert "parameters: a " in out


@pytest.mark.parametrize(
    ("seeds", "said"),
    [(0.01, "more than the noise."), (None, "noise of the images judged by; that between seeds was not measured")],
)
def test_the_highest_accuracy_is_above_the_others_by_no_more_than_what_was_measured(seeds, said):
    top = pd.Series({"accuracy": 0.9, "expected": 0.9, "accuracy_low": 0.8, "trial": 3, "macs": 1e6})
    assert said in _top(top, pd.DataFrame({"macs": []}), noise=Noise(images=100, seeds=seeds))


def test_a_front_of_one_says_that_others_were_not_trained_to_the_end():
    one = pd.DataFrame({"macs": [1e6]})
    assert _range(one, stopped=0).endswith("at 1.00 M MACs.")
    assert "5 others got no farther than a rung" in _range(one, stopped=5)
