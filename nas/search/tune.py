"""Trials on Ray Tune: Ray moves the work, the study decides and remembers. Nothing that a resume needs lives here."""

import contextlib
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cluster.session import num_workers, started_ray  # isort: skip (sets ray's variables first)
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from rich.console import Console

from nas.callbacks import ignore
from nas.cluster.avoided import IN_A_ROW, Avoided, selector
from nas.cluster.loss import host_of_death, short_cause
from nas.cluster.nodes import Prepare, check_nodes, prepare_nodes
from nas.cluster.room import WorkerShare
from nas.cluster.stopping import Stopping
from nas.errors import NasError
from nas.search.ahead import Ahead
from nas.search.loggers import Logger, opened_loggers
from nas.space.architecture import Architecture
from nas.space.plugins.plugin import Plugin
from nas.training.curve import Begin, Epoch, Message, Outcome, Placed, packed, unpacked

if TYPE_CHECKING:  # workers import this file, and need no Optuna
    from nas.run.folder import RunFolder
    from nas.run.settings.sections import Resources
    from nas.search.study import Study


PLACES_LOOK_SECONDS = 30.0  # between two looks whether every trial that waits can be placed


class StudySearcher(Searcher):
    """Ray Tune's question "what next?" handed to the study, and the end of each trial handed back."""

    def __init__(
        self,
        study: "Study",
        folder: "RunFolder",
        *,
        workers: int,
        avoided: Avoided,
        stopping: Stopping,
        on_change: Callable[[], None],
        say: Callable[[str], object] = ignore,
    ):
        super().__init__()
        self.study, self.folder, self.stopping, self.on_change, self.say = study, folder, stopping, on_change, say
        self.avoided = avoided
        self.workers, self.ahead = workers, Ahead(workers)
        self.has_just_proposed = self.has_seen_an_end = False
        self.numbers: dict[str, int] = {}
        self.hosts: dict[str, str] = {}  # of those trials that a worker has taken up
        self.kept_off: dict[str, tuple[str, ...]] = {}  # nodes on which those that wait are not placed
        self.looked = time.monotonic()
        self.errors: dict[str, str] = {}
        self.trouble: Exception | None = None

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Around all that touches the record: a signal waits, and what goes wrong is kept, which Ray would turn into a text."""
        try:
            with self.stopping.held():
                yield
                self.on_change()
        except Exception as error:
            self.trouble = error
            raise

    def suggest(self, trial_id: str) -> Any:  # Ray also takes its sign for the end, which its own annotation forgets
        """The next architecture as a Tune configuration, or the sign that the search is over.

        None while enough are there, while what runs decides, and after each proposal once: Tune then hands it out and takes a
        worker's report before it asks again.
        """
        if self.has_just_proposed:
            self.has_just_proposed = False
            return None
        self._check_places()
        free = self.workers - len(self.hosts)
        if len(self.numbers) - len(self.hosts) >= (free if free > 0 else self.ahead.number):
            return None  # those that wait are handed out before more are asked for
        with self.writing(), self.ahead.timed() if self.has_seen_an_end else contextlib.nullcontext():
            proposal = self.study.propose(on_answer=self._show_answer)
        if proposal is None:
            return None if self.numbers else Searcher.FINISHED
        self.numbers[trial_id], self.has_just_proposed = proposal.number, True
        files = {name: getattr(self.folder, name)(proposal.number) for name in ("weights", "checkpoint")}
        self.kept_off[trial_id] = avoided = self.avoided.for_trial(self.study.lost_on(proposal.number))
        paths = {name: str(path.absolute()) for name, path in files.items()}
        return {"architecture": proposal.architecture.to_dict(), "avoided": avoided, **paths}

    def _check_places(self) -> None:
        """Now and then: NasError where a trial waits for a place on none of the nodes that are left."""
        if time.monotonic() - self.looked < PLACES_LOOK_SECONDS:
            return
        self.looked = time.monotonic()
        waiting = [nodes for trial_id, nodes in self.kept_off.items() if nodes and trial_id not in self.hosts]
        if any(not self.avoided.leaves_a_node(nodes) for nodes in waiting):
            self.trouble = NasError(
                "all nodes are gone but those on which a trial was lost before, so that it waits for another. Nothing that "
                "finished is lost; the same command tries it on what is there."
            )
            raise self.trouble

    def _show_answer(self) -> None:
        """Between two answers of other runs, of which there may be hundreds: show it, and stop if a signal waits."""
        self.on_change()
        self.stopping.check()

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Tell the study how the trial ended, unless it waits at a rung."""
        self.has_seen_an_end = True  # before it, workers are asked for one after the other
        if trial_id in self.numbers:
            lost = self.errors.pop(trial_id, "the worker died") if error else None
            host, message = self.hosts.get(trial_id), unpacked(result or {})
            with self.writing():
                number = self.let_go(trial_id)
                if host is not None:
                    self._judge(host, number, lost=lost)
                self._tell(number, message, host=host, lost=lost)

    def let_go(self, trial_id: str) -> int:
        """Forget a trial of Tune's; the number under which the study knows it."""
        self.hosts.pop(trial_id, None)
        self.kept_off.pop(trial_id, None)
        return self.numbers.pop(trial_id)

    def _judge(self, host: str, number: int, *, lost: str | None) -> None:
        """Put an end or a loss down to the host on which it was."""
        if lost is None:
            self.avoided.note_end(host)
        elif self.avoided.note_loss(host, number):
            self.say(f"mind: {host} is left out: {IN_A_ROW} trials in a row were lost there, the last one so: {lost}")

    def _tell(self, number: int, message: Message | None, *, host: str | None, lost: str | None) -> None:
        if lost is not None or not isinstance(message, Outcome):
            self.study.lose(number, host=host, cause=lost or "the worker ended without an outcome")
        elif message.accuracy is None:
            self.study.fail(number, cause=message.cause or "no cause given", seconds=message.seconds)
        else:
            self.study.finish(number, accuracy=message.accuracy, seconds=message.seconds)

    def __getstate__(self) -> dict:
        """Nothing: Ray pickles its searcher, but the record lives in the study alone."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class RungScheduler(FIFOScheduler):
    """First in, first out; every epoch goes to the record, which says whether the trial goes on."""

    def __init__(self, searcher: StudySearcher):
        super().__init__()
        self.searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict) -> str:
        """Put a begin or an epoch down; end there for now where the study has it wait at a rung."""
        number, study = self.searcher.numbers[trial.trial_id], self.searcher.study
        message, is_kept = unpacked(result), True
        with self.searcher.writing():
            if isinstance(message, Placed):
                self.searcher.hosts[trial.trial_id] = message.host
            elif isinstance(message, Begin):
                is_kept = study.begin(number, host=self.searcher.hosts[trial.trial_id], curve=message.curve)
            elif isinstance(message, Epoch):
                is_kept = study.report(number, message)
            if not is_kept:
                self.searcher.let_go(trial.trial_id)
        return TrialScheduler.CONTINUE if is_kept else TrialScheduler.STOP

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Remember why, which Ray does not tell the searcher, and writes into a file of its own."""
        file = Path(trial.error_file or "")
        text = file.read_text() if file.is_file() else ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        self.searcher.errors[trial.trial_id] = short_cause((lines or ["no cause given"])[-1])
        if trial.trial_id not in self.searcher.hosts and (host := host_of_death(text)):
            self.searcher.hosts[trial.trial_id] = host

    def __getstate__(self) -> dict:
        """Nothing: see StudySearcher."""
        return {}


def train_trial(config: dict[str, Any], *, work: Callable, share: WorkerShare, plugins: tuple[Plugin, ...] = ()) -> None:
    """One trial in a worker: say where it is and what is known of it, train, report every epoch, report the outcome.

    `plugins` brought their mixers into the table when they arrived.
    """
    _report(Placed(host=socket.gethostname()))
    share.keep()
    outcome = work(
        Architecture.model_validate(config["architecture"]),
        on_start=lambda curve: _report(Begin(curve=curve)),
        on_epoch=_report,
        weights=Path(config["weights"]),
        checkpoint=Path(config["checkpoint"]),
    )
    _report(outcome)


def _report(message: Message) -> None:
    """Tune ends this process's trial here if a rung stops it, or if this was its outcome."""
    tune.report({**packed(message), "done": isinstance(message, Outcome)})


def run_trials(
    study: "Study",
    folder: "RunFolder",
    *,
    work: Callable,
    resources: "Resources",
    prepare: Prepare | None = None,
    console: Console | None = None,
    stopping: Stopping | None = None,
    on_change: Callable[[], None] = ignore,
) -> None:
    """Train what `study` proposes until it proposes nothing more; `work(architecture, on_start=, on_epoch=, weights=,
    checkpoint=)` is one training, `prepare` what each node of a cluster needs done before, which is told on the `console`."""
    with (
        started_ray(resources),
        _scratch(folder, resources) as scratch,
        opened_loggers(study.search, folder) as loggers,
    ):
        unfit: frozenset[str] = frozenset()
        if resources.address:
            check_nodes(folder.search_yaml)
        if resources.address and prepare is not None:
            unfit = prepare_nodes(prepare, console=console or Console(quiet=True))
        say = ignore if console is None else partial(console.print, soft_wrap=True)
        workers = num_workers(resources, without=unfit, say=say)
        searcher = StudySearcher(
            study,
            folder,
            workers=workers,
            avoided=Avoided(unfit),
            stopping=stopping or Stopping(),
            on_change=on_change,
            say=say,
        )
        try:
            _tuner(searcher, work=work, resources=resources, scratch=scratch, loggers=loggers).fit()
        except Exception:
            if searcher.trouble is None:
                raise
            raise searcher.trouble  # noqa: B904 (with its own cause)


def _tuner(
    searcher: StudySearcher, *, work: Callable, resources: "Resources", scratch: Path, loggers: list[Logger]
) -> tune.Tuner:
    share = WorkerShare(resources.cpu, resources.gpu)
    trainable = partial(train_trial, work=work, share=share, plugins=searcher.study.search.space.plugins)
    return tune.Tuner(
        tune.with_resources(trainable, partial(_place, share=share)),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=RungScheduler(searcher),
            num_samples=-1,
            max_concurrent_trials=2 * searcher.workers,  # of which the searcher makes use as far as that pays
            reuse_actors=True,
        ),
        # no retries by Ray: the study counts them, and hands a lost trial out again
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(scratch),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
            callbacks=list(loggers),
        ),
    )


def _place(config: dict[str, Any], *, share: WorkerShare) -> tune.PlacementGroupFactory:
    """What a trial holds, and of which node not."""
    avoided = config["avoided"]
    elsewhere: dict[str, Any] = {"bundle_label_selector": [selector(avoided)]} if avoided else {}
    return tune.PlacementGroupFactory([share.bundle], **elsewhere)


@contextlib.contextmanager
def _scratch(folder: "RunFolder", resources: "Resources") -> Iterator[Path]:
    """A folder for Ray's own notes, which nobody reads: on a cluster beside the record, where all nodes see it."""
    with tempfile.TemporaryDirectory(dir=folder.root.resolve() if resources.address else None, prefix=".ray") as path:
        yield Path(path)
