"""When a search will be through: the work that is left, at the speed that was measured.

Work is what an epoch takes by the MACs of its network at the proxy's image size; how many trials go on from a rung is what
`due_rung` will let.
"""

import time
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from nas.run.record import Record, TrialState
from nas.run.settings.search import Search
from nas.search.rungs import FEWEST_WHOLE, num_promoted
from nas.space.architecture import Architecture
from nas.space.cost import cost

FEWEST_EPOCHS = 3  # of all trainings together, before their speed says when the search will end
FEWEST_KINDS = 4  # before an epoch's time is a constant and a part for its MACs; below, it is proportional
TRUSTED_EPOCHS = 2  # of which workers that share nothing would have been as fast as one alone
TIMED_EPOCHS = 4  # the first of which warms up
TIMED_MACS = 20e9  # at most in a step that is timed
LATEST = 12  # trials whose MACs stand for those of new ones, since a search moves to where it is good


class Forecast:
    """What is left of one search, and how long that takes; it hears of every change of the record."""

    def __init__(self, search: Search, *, workers: int, records: Sequence[Record] = ()):
        self.search, self.workers = search, workers
        self._macs: dict[str, int] = {}  # by a record's key, or the name of a design
        self._heard: dict[int, tuple[int, float]] = {}  # by trial: epochs that were reported, and when
        self._trained_before = _trained(records)
        self._attempts_before = {record.number: len(record.attempts) for record in records}
        self.began: float | None = None
        """When the first worker took up a trial, on the monotonic clock; None before."""

    def hear(self, changed: Sequence[Record], *, now: float | None = None) -> None:
        """Take note of the trials that changed."""
        now = time.monotonic() if now is None else now
        if self.began is None and any(len(r.attempts) > self._attempts_before.get(r.number, 0) for r in changed):
            self.began = now
        for record in changed:
            before, epochs = self._heard.pop(record.number, (-1, now)), len(record.curve)
            if record.state == TrialState.RUNNING and record.attempts:
                self._heard[record.number] = before if before[0] == epochs else (epochs, now)

    def seconds_left(self, records: Sequence[Record], *, now: float | None = None) -> float | None:
        """Seconds until the search is through; None before enough epochs are there to say."""
        now = time.monotonic() if now is None else now
        done = _trained(records) - self._trained_before
        if self.began is None or sum(len(r.curve) for r in records if _is_trained(r)) < FEWEST_EPOCHS:
            return None
        fixed, per_mac = self._speed(records)
        own = {r.number: self._macs_of(r) for r in records if r.number in self._heard}
        in_epochs = {n: share * (fixed + per_mac * own[n]) for n, share in self.shares(records, now=now).items()}
        epochs, longest = self._epochs_left(records)
        left = sum(number * (fixed + per_mac * macs) for number, macs in epochs) - sum(in_epochs.values())
        trusted = TRUSTED_EPOCHS * self.workers * (fixed + per_mac * self._mean_macs(records))
        pace = (now - self.began + trusted / self.workers) / (
            done + sum(in_epochs.values()) + trusted
        )  # of the clock's per trained
        return max(0.0, left * pace, longest * (fixed + per_mac * self._mean_macs(records)) * min(1.0, pace * self.workers))

    def shares(self, records: Sequence[Record], *, now: float | None = None) -> dict[int, float]:
        """By running trial which share of its present epoch is done, as far as its speed is known."""
        now = time.monotonic() if now is None else now
        if not any(r.curve for r in records if _is_trained(r)):
            return {}
        fixed, per_mac = self._speed(records)
        own = {r.number: self._macs_of(r) for r in records if r.number in self._heard}
        expected = {n: max(1e-6, fixed + per_mac * macs) for n, macs in own.items()}
        return {n: min(0.99, (now - self._heard[n][1]) / seconds) for n, seconds in expected.items()}

    def _speed(self, records: Sequence[Record]) -> tuple[float, float]:
        """Seconds of an epoch: a constant, and a part for each of the network's MACs. Least squares, neither below zero."""
        able = [r for r in records if r.curve and _is_trained(r)]
        macs = np.repeat([float(self._macs_of(r)) for r in able], [len(r.curve) for r in able])
        seconds = np.array([epoch.seconds for r in able for epoch in r.curve])
        proportional = 0.0, float(seconds.sum() / macs.sum())
        if len({r.key for r in able}) < FEWEST_KINDS or macs.std() == 0:
            return proportional
        slope = float(np.cov(macs, seconds)[0, 1] / np.var(macs, ddof=1))
        fixed = float(seconds.mean() - slope * macs.mean())
        return (float(seconds.mean()), 0.0) if slope < 0 else proportional if fixed < 0 else (fixed, slope)

    def macs(self, architecture: Architecture) -> int:
        """Of one image as the proxy trains it."""
        recipe = self.search.proxy
        classes = recipe.num_classes or self.search.space.num_classes
        return cost(architecture, image_size=recipe.full_size, num_classes=classes).macs

    def _macs_of(self, record: Record) -> int:
        """Kept by the key that the record holds: there may be thousands of records, and the time left depends on all."""
        if record.key not in self._macs:
            self._macs[record.key] = self.macs(record.architecture)
        return self._macs[record.key]

    def _macs_of_design(self, name: str) -> int:
        if name not in self._macs:
            self._macs[name] = self.macs(self.search.design(name))
        return self._macs[name]

    def _mean_macs(self, records: Sequence[Record]) -> float:
        """Of the latest trials that were drawn, baselines left out as far as there are others."""
        drawn = [r for r in records if r.is_drawn and r.state not in (TrialState.REJECTED, TrialState.ANSWERED)]
        latest = ([r for r in drawn if not r.baseline] or drawn)[-LATEST:]
        return float(np.mean([self._macs_of(r) for r in latest]))

    def _epochs_left(self, records: Sequence[Record]) -> tuple[list[tuple[int, float]], int]:
        """How many epochs of networks of which MACs are left, and the most that one after the other can't be shared."""
        search, proxy = self.search, self.search.proxy
        own = [r for r in records if r.is_drawn and r.state not in (TrialState.REJECTED, TrialState.ANSWERED)]
        left = [(self._stop_of(r) - len(r.curve), float(self._macs_of(r))) for r in own if r.state == TrialState.RUNNING]
        named = {r.baseline for r in own if r.baseline}
        left += [(proxy.epochs, float(self._macs_of_design(name))) for name in search.baselines if name not in named]
        searched, mean = [r for r in own if not r.baseline], self._mean_macs(records)
        longest = max((number for number, _ in left), default=0)
        reached = search.trials
        left.append((max(0, reached - len(searched)) * (proxy.rungs[0] if proxy.rungs else proxy.epochs), mean))
        for begin, end in pairwise([*proxy.rungs, proxy.epochs]):
            reached = num_promoted(reached)
            entered = sum(r.passed >= begin or r.state == TrialState.COMPLETE for r in searched)
            entered += sum(r.state == TrialState.RUNNING and self._stop_of(r) > begin > r.passed for r in searched)
            left.append((max(0, reached - entered) * (end - begin), mean))
        return left, longest

    def _stop_of(self, record: Record) -> int:
        """After which epoch a running trial ends, or waits at a rung."""
        proxy = self.search.proxy
        is_free = record.baseline or self.search.trials <= FEWEST_WHOLE
        return min((r for r in proxy.rungs if r > max(record.passed, len(record.curve)) and not is_free), default=proxy.epochs)


def training_speed(search: Search, architecture: Architecture) -> float:
    """Multiply-accumulates a second that training an architecture comes to here, on a trial's cores: a step on noise, timed.

    A backward pass counts as two forward passes.
    """
    import torch  # takes seconds, which no search waits for

    from nas.data.manifest import Images
    from nas.training.loop import fit
    from nas.training.proxy import fresh_network

    recipe, threads = search.proxy, torch.get_num_threads()
    size, classes = recipe.full_size, recipe.num_classes or search.space.num_classes
    macs = cost(architecture, image_size=size, num_classes=classes).macs
    number = int(min(recipe.batch_size, max(8, TIMED_MACS / (3 * macs))))
    rng = np.random.default_rng(0)
    images = Images(rng.integers(0, 256, (number, size, size, 3), dtype=np.uint8), rng.integers(0, classes, number))
    timed = {"epochs": TIMED_EPOCHS, "warmup_epochs": 0, "batch_size": number, "distillation": None, "rungs": ()}
    torch.set_num_threads(max(1, int(search.resources.cpu)))
    try:
        model = fresh_network(architecture, recipe, num_classes=classes, seed=0)
        curve = fit(model, images, None, recipe.model_copy(update=timed), seed=0)
    finally:
        torch.set_num_threads(threads)
    return 3 * macs * number / min(epoch.seconds for epoch in curve[1:])


def _is_trained(record: Record) -> bool:
    return record.state != TrialState.ANSWERED


def _trained(records: Sequence[Record]) -> float:
    """Seconds of all epochs."""
    return sum(record.trained_seconds for record in records if _is_trained(record))
