"""When a search will be through, held against searches whose end is known."""

import heapq

import pytest

from nas.search.forecast import Forecast
from tests.studies import accuracy_of, epoch

WORKERS = 2


def simulated(
    study, search, *, fixed: float, per_mac: float, begins_at: float = 0.0
) -> tuple[list[tuple[int, float, float]], float]:
    """Trains a whole search on a clock of its own; after each epoch the trials that had a turn, time and forecast; and the end."""
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


@pytest.mark.parametrize("rungs", ["[]", "[1]"])
@pytest.mark.parametrize(("fixed", "per_mac"), [(0.0, 1e-6), (1.0, 1e-6), (2.0, 0.0)])
def test_it_holds_from_the_third_trial_on_whatever_an_epoch_takes(opened, tiny, rungs, fixed, per_mac):
    search = tiny("search.trials=20", "search.sampler=random", f"proxy.rungs={rungs}", "proxy.epochs=3")
    said, end = simulated(opened(search), search, fixed=fixed, per_mac=per_mac)
    checked = [(left, end - now) for trained, now, left in said if trained >= 3 and end - now > 0.1 * end]
    assert len(checked) > 20 and None not in [left for left, _ in checked]
    assert all(1 / 1.5 <= left / really <= 1.5 for left, really in checked)


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
