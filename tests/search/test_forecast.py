"""When a search will be through, held against searches whose end is known."""

import heapq
import io
import re

import pytest
from rich.console import Console

from nas.data.draw import DataCost
from nas.run.dry_run import SearchPace, show_space
from nas.search.forecast import Forecast, training_speed
from nas.search.rungs import expected_epochs
from nas.units import duration
from tests.studies import accuracy_of, epoch

WORKERS = 2


def simulated(
    study, search, *, fixed: float, per_mac: float, begins_at: float = 0.0
) -> tuple[list[tuple[int, float, float]], float]:
    """Trains a whole search on a clock of its own; after each epoch trials that had a turn, time and forecast; and the end."""
    forecast, now, events, said = Forecast(search, workers=WORKERS), begins_at, [], []

    def hand_out() -> None:
        while len(events) < WORKERS and (proposal := study.propose()) is not None:
            study.begin(proposal.number, host="a", curve=study.records[proposal.number].curve)
            seconds = fixed + per_mac * forecast.macs(proposal.architecture)
            heapq.heappush(events, (now + seconds, proposal.number, seconds))
        forecast.hear(study.records, now=now)

    hand_out()
    while events:
        now, number, seconds = heapq.heappop(events)
        record = study.records[number]
        done = len(record.curve) + 1
        goes_on = study.report(number, epoch(done, accuracy_of(record.architecture) * done / 3, seconds=seconds))
        if goes_on and done < search.proxy.epochs:
            heapq.heappush(events, (now + seconds, number, seconds))
        elif goes_on:
            study.finish(number, accuracy=accuracy_of(record.architecture), seconds=seconds * done)
        hand_out()
        said.append(
            (
                sum(r.had_its_chance or r.state == "paused" for r in study.records),
                now,
                forecast.seconds_left(study.records, now=now),
            )
        )
    return said, now


@pytest.mark.thorough
@pytest.mark.parametrize("rungs", ["[]", "[1]"])
@pytest.mark.parametrize(("fixed", "per_mac"), [(0.0, 1e-6), (1.0, 1e-6), (2.0, 0.0)])
def test_it_holds_from_the_third_trial_on_whatever_an_epoch_takes(opened, tiny, rungs, fixed, per_mac):
    search = tiny("search.trials=20", "search.sampler=random", f"proxy.rungs={rungs}", "proxy.epochs=3")
    said, end = simulated(opened(search), search, fixed=fixed, per_mac=per_mac)
    checked = [(left, end - now) for trained, now, left in said if trained >= 3]
    assert len(checked) > 20 and None not in [left for left, _ in checked]
    off = [
        pair for pair in checked if not 1 / 1.5 <= pair[0] / max(pair[1], 1e-9) <= 1.5 and abs(pair[0] - pair[1]) > 0.1 * end
    ]
    assert off == []  # the last few trials may be dearer than most, so that a tenth of the whole is nothing


def test_the_start_of_the_workers_is_no_training(opened, tiny):
    search = tiny("search.trials=9", "search.sampler=random", "proxy.rungs=[]", "proxy.epochs=3")
    said, end = simulated(opened(search), search, fixed=1.0, per_mac=0.0, begins_at=1000.0)
    assert all(left < 1.5 * (end - now) + 2 for trained, now, left in said if left is not None)


def test_within_an_epoch_it_is_said_how_far_a_trial_is(opened, tiny):
    search = tiny("search.trials=2", "search.sampler=random")
    study, forecast = opened(search), Forecast(search, workers=1)
    number = study.propose().number
    forecast.hear(study.records, now=0.0)
    assert forecast.shares(study.records, now=1.0) == {} and forecast.seconds_left(study.records, now=1.0) is None
    study.begin(number, host="a")
    forecast.hear(study.records, now=2.0)
    study.report(number, epoch(1, 0.5, seconds=4.0))
    forecast.hear(study.records, now=6.0)
    assert forecast.shares(study.records, now=7.0) == {number: pytest.approx(0.25)}
    assert forecast.shares(study.records, now=99.0) == {number: 0.99}


def test_a_dry_run_counts_those_that_a_rung_stops_and_uses_the_speed_of_this_machine(tiny):
    search = tiny("search.trials=40", "resources.workers=2")
    output = io.StringIO()
    show_space(search, Console(file=output, width=300), pace=SearchPace(expected_epochs(search), lambda _: 1e9))
    macs, text = 1e9, output.getvalue()
    (total,) = re.findall(r"at 32 px: ([\d.]+) G MACs, since only the most promising go on after 1 of them", text)
    assert f"about {duration(20 + float(total) * 1e9 / macs / 2)} here, 2 at once" in text


def test_the_speed_is_measured_of_a_real_training(tiny):
    search = tiny()
    speed = training_speed(search, search.space.draw(lambda _, options: options[0]))
    assert 1e6 < speed < 1e13


def test_a_dry_run_with_data_says_what_it_costs_and_counts_with_its_images(tiny):
    search, output = tiny("search.trials=40", "baselines=[]", "proxy.rungs=[]", "resources.workers=2"), io.StringIO()
    data = DataCost(1_000_000, 281_167, 50_000, listing_seconds=3.2, decoding_seconds=5400, cache_bytes=102 * 10**9)
    show_space(search, Console(file=output, width=300), data=data)
    text = output.getvalue()
    assert "1,331,167 images listed in 3.2 s (1,000,000 to train on, 281,167 to judge by, 50,000 to test on)" in text
    assert "102 GB of " in text and "1 h 30 min, by a sample; their names take 426 MB of memory" in text
    assert "on 1,000,000 images, judged by 281,167" in text
