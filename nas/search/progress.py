"""How a search goes, for a person: one live display in a terminal, a line an event elsewhere."""

import time
from collections import Counter
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nas.cores import num_cores
from nas.errors import few, in_one_line
from nas.run.front import front_hypervolume, front_records, reference_costs
from nas.run.record import Record, TrialState
from nas.run.settings.search import Search
from nas.search.forecast import FEWEST_EPOCHS, Forecast
from nas.search.study import Study
from nas.space.mixers import legend
from nas.units import count, duration, percent

FRONT_ROWS = 12
RUNNING_SHOWN = 6  # trials in training, by number
STARTING = "starting Ray and its workers, which takes some ten seconds ..."
ETA_SHARE = 0.02  # of the time that working out the time left may take, with thousands of trials


class SearchProgress(AbstractContextManager):
    """The display of one search from its start to its end."""

    def __init__(self, search: Search, console: Console):
        self.search, self.console = search, console
        self.references = reference_costs(search)
        self.study: Study | None = None
        self._began, self._forecast = time.monotonic(), Forecast(search, workers=_workers(search))
        self._last_records: dict[int, Record] = {}
        self._is_broken = False
        self._end: float | None = None  # when the search is expected to be through
        self._eta_due = 0.0  # when that is worked out again
        self._live = Live(console=console, get_renderable=self._screen, refresh_per_second=2) if console.is_terminal else None

    def watch(self, study: Study) -> None:
        """Show `study` from now on."""
        self.study, self._began = study, time.monotonic()
        self._last_records = {record.number: record for record in study.records}
        self._forecast = Forecast(self.search, workers=_workers(self.search), records=study.records)
        if before := self._trained():
            self.console.print(f"continuing: {before} architectures are in the record already")
        if not self._live and study.has_work:
            self.console.print(STARTING)

    def __enter__(self) -> "SearchProgress":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()
        if error is not None or self.study is None:
            return
        waiting, is_short = self._count(TrialState.PAUSED), self.study.num_started < self.search.trials
        if is_short and self.study.exhausted:
            self.console.print("every affordable architecture that was found has been tried: the search ends before its budget")
        elif is_short and self.study.is_flat and (rule := self.search.search.stop) is not None:
            self.console.print(
                f"the search ends before its budget: its last {rule.within} finished trainings and, as foretold, the next "
                f"{rule.within} raise the hypervolume by less than {rule.gain:.2%} (search.stop)",
                soft_wrap=True,
            )
        elif (is_short or waiting) and self.study.limit is not None:
            more = f", {waiting} still waiting at a rung" if waiting else ""
            self.console.print(f"the search ends before its budget{more}: {self.study.limit}; raise it to continue")

    def changed(self, best: list[Record]) -> None:
        """Take note that the record changed; `best` is its front now. What can't be shown is no reason to end the search."""
        try:
            last = self._last_records
            changed = [(r, last.get(r.number)) for r in self._records if last.get(r.number) is not r]
            last |= {record.number: record for record, _ in changed}
            self._forecast.hear([record for record, _ in changed])
            if not self._live:
                self._tell(changed, best)
        except Exception as error:
            if self._is_broken:
                return
            self._is_broken = True
            self.console.print(f"the search goes on, but its display broke: {in_one_line(error)}", soft_wrap=True)

    def _tell(self, changed: list[tuple[Record, Record | None]], best: list[Record]) -> None:
        for record, was in changed:
            is_news = was is None or was.state != record.state
            if is_news and record.state not in (TrialState.RUNNING, TrialState.REJECTED):
                self.console.print(self._line(record, best), soft_wrap=True)

    @property
    def _records(self) -> list[Record]:
        return [] if self.study is None else self.study.records

    def _count(self, state: TrialState) -> int:
        return sum(record.state == state for record in self._records)

    def _trained(self) -> int:
        """Trials that were trained to their end or, so far, to a rung."""
        return sum(r.had_its_chance or r.state == TrialState.PAUSED or r.passed > 0 for r in self._records)

    def _so_far(self) -> str:
        """Such as "12/30", and how many of these were trained to their end where others wait at a rung or were stopped."""
        trained, whole = self._trained(), sum(record.accuracy is not None for record in self._records)
        return f"{trained}/{self._total()}" + (f", {whole} in full" if whole < trained else "")

    def _total(self) -> int:
        return self.search.trials + len(self.search.baselines)

    def _eta(self) -> str:
        if (now := time.monotonic()) >= self._eta_due:
            left = self._forecast.seconds_left(self._records)
            self._end, self._eta_due = left and now + left, now + (time.monotonic() - now) / ETA_SHARE
        return f"ETA: after {FEWEST_EPOCHS} epochs" if self._end is None else f"ETA {duration(max(0, round(self._end - now)))}"

    def _line(self, record: Record, best: list[Record]) -> str:
        what = f"trial {record.number}" + (f" ({record.baseline})" if record.baseline else "")
        fate = record.state.words if record.source is None else "answered from another run"
        network = f"{count(record.cost.macs)} MACs, {record.architecture.describe()}"
        return (
            f"[{self._so_far()}] {what} {fate}: {_outcome(record)}, {network} · "
            f"hypervolume {self._volume(best):.4f} · {self._eta()}"
        )

    def _volume(self, best: list[Record]) -> float:
        return front_hypervolume(best, self.search, self.references)

    def _screen(self) -> Group | Text:
        if self.study is None:
            return Text("starting ...")
        records = self.study.records
        best, states = front_records(records, self.search), Counter(r.state for r in records)
        counts = " · ".join(f"{states[state]} {state.words}" for state in TrialState if state != TrialState.REJECTED)
        top = max((r.accuracy for r in records if r.accuracy is not None), default=None)
        head = Text(
            f"{self.search.name}: {self._trained()} of {self._total()} trained · "
            f"{duration(time.monotonic() - self._began)} · {self._eta()}\n"
            f"{counts}\nbest {percent(top)} · hypervolume {self._volume(best):.4f}"
        )
        shown = best[:FRONT_ROWS]
        letters = Text(legend(record.architecture.describe() for record in shown))
        head.append(f"\n{self._running()}")
        return Group(head, Text("front so far:"), small_table(shown), letters) if best else head

    def _running(self) -> str:
        """What is trained now and how far that is; before it, what is waited for."""
        if self._forecast.began is None:
            return STARTING
        shares, epochs = self._forecast.shares(self._records), self.search.proxy.epochs
        running = [r for r in self._records if r.state == TrialState.RUNNING and r.attempts]
        done = {r.number: min(1.0, (len(r.curve) + shares.get(r.number, 0.0)) / epochs) for r in running}
        each = [f"trial {number} {share:.0%} through" for number, share in done.items()]
        return f"in training: {few(each, most=RUNNING_SHOWN)}" if each else "in training: none"


def _workers(search: Search) -> int:
    """Trials at once, as far as that is known before Ray says it."""
    return search.resources.workers or max(1, int(num_cores() / search.resources.cpu))


def _outcome(record: Record) -> str:
    """A trial's accuracy, and after how many epochs where these were not all; else why it has none."""
    if record.accuracy is not None:
        return percent(record.accuracy) + (f", from {record.source}" if record.source is not None else "")
    if record.state in (TrialState.PAUSED, TrialState.STOPPED):
        return f"{percent(record.curve[-1].accuracy)} after epoch {record.curve[-1].epoch}"
    return str(record.cause)


def small_table(records: list[Record]) -> Table:
    """Complete trials as a small table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("trial", "accuracy", "MACs", "params"):
        table.add_column(column, justify="right")
    table.add_column("architecture")
    for r in records:
        name = f"{r.baseline} ({r.number})" if r.baseline else str(r.number)
        table.add_row(name, percent(r.accuracy), count(r.cost.macs), count(r.cost.params), r.architecture.describe())
    return table
