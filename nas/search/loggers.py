"""TensorBoard, MLflow and Weights & Biases beside a search: Ray Tune's own callbacks, which hear of trials as the record does.

They watch; the record stays the truth. Each is called in a thread of its own: a server that is away or hangs holds no trial.
"""

import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ray.tune.logger import LoggerCallback
from sqlalchemy.engine import URL

from nas.cluster.session import ray
from nas.errors import NasError
from nas.run.folder import RunFolder
from nas.run.settings.search import Search
from nas.search.background import Background
from nas.space.architecture import Architecture
from nas.terminal import Terminal
from nas.training.curve import Epoch, Outcome, unpacked

UNLOGGED = re.compile("[@:]")  # in the names of a device's costs; MLflow's may not have them
LOGGER_PACKAGES = {"tensorboard": ("tensorboardX", "live"), "mlflow": ("mlflow", "live"), "wandb": ("wandb", "wandb")}
"""What each of search.log needs to be imported, and the extra that brings it."""
WITHOUT_SERVER = ("offline", "dryrun", "disabled")  # values of $WANDB_MODE
WANDB_SECONDS = 90  # in which the processes of trials may hand on what they have
URI_VARIABLE = "MLFLOW_TRACKING_URI"
SHORT_WAITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}  # MLflow's own take minutes


def check_packages(names: tuple[str, ...]) -> None:
    """NasError before a search begins if a logger's package, or the key to its server, is missing."""
    for name in names:
        package, extra = LOGGER_PACKAGES[name]
        if find_spec(package) is None:
            raise NasError(
                f"search.log: {name} needs its package. Install it: pip install 'metaformer-nas[{extra}]'; or leave {name} out."
            )
    if "wandb" in names and os.environ.get("WANDB_MODE") not in WITHOUT_SERVER and not _has_wandb_key():
        raise NasError(
            "search.log: wandb must know who you are, but has no key. Run `wandb login`, set WANDB_API_KEY, or set "
            "WANDB_MODE=offline, which writes into the run's folder what `wandb sync` sends later."
        )


def _has_wandb_key() -> bool:
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    return bool(os.environ.get("WANDB_API_KEY") or wandb.login(prompt=False, verify=False))


@contextmanager
def opened_loggers(search: Search, folder: RunFolder) -> Iterator[list["Logger"]]:
    """The callbacks that search.log asks for; at the end they finish what they have to tell, within a limit."""
    makers = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}
    loggers = [Logger(name, makers[name](search, folder), search, folder) for name in search.log]
    try:
        yield loggers
    finally:
        for logger in loggers:
            logger.close()


def _tensorboard(search: Search, folder: RunFolder) -> LoggerCallback:
    from ray.tune.logger import TBXLoggerCallback

    return TBXLoggerCallback()


def _mlflow(search: Search, folder: RunFolder) -> LoggerCallback:
    """Logs to the server that MLflow's own variable names, else into a database in the run's folder."""
    for variable, value in SHORT_WAITS.items():
        os.environ.setdefault(variable, value)

    from ray.air.integrations.mlflow import MLflowLoggerCallback

    import mlflow  # isort: skip

    logging.getLogger(mlflow.__name__).setLevel(logging.WARNING)  # or it tells of each table it makes
    own = URL.create("sqlite", database=str((folder.root / "mlflow.db").absolute())).render_as_string()
    uri = os.environ.get(URI_VARIABLE, own)
    return MLflowLoggerCallback(tracking_uri=uri, experiment_name=search.name)


def _wandb(search: Search, folder: RunFolder) -> LoggerCallback:
    """Logs each trial from a process of its own, under the search's name; a trial that goes on, goes on there too."""
    from ray.air.integrations.wandb import WandbLoggerCallback
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    class Wandb(WandbLoggerCallback):
        """With processes on this machine that have its variables; one that still sends is waited for when its trial goes on."""

        def setup(self, *arguments: Any, **named: Any) -> None:
            super().setup(*arguments, **named)
            variables = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            options = {"num_cpus": 0, "scheduling_strategy": here, "runtime_env": {"env_vars": variables}}
            made = ray.remote(self._logger_actor_cls).options(**options)
            self._remote_logger_class = made  # type: ignore[assignment]  # annotated by the None it begins with

        def log_trial_start(self, trial: Any) -> None:
            if trial in self._trial_logging_futures:
                ray.wait([self._trial_logging_futures[trial]], timeout=WANDB_SECONDS)
                self._cleanup_logging_actors()
            super().log_trial_start(trial)

    root, quiet = str(folder.root.resolve()), {"silent": True}
    return Wandb(
        project=search.name, group=Path(root).name, dir=root, resume="allow", settings=quiet, upload_timeout=WANDB_SECONDS
    )


class Shown(NamedTuple):
    """A trial as a logger sees one of Tune's."""

    number: int
    local_path: str
    config: dict[str, Any]
    trial_id: str
    """The same each time that the trial goes on, and no other run's."""

    @property
    def evaluated_params(self) -> dict[str, Any]:
        """What TensorBoard lists as hyperparameters."""
        return self.config

    def init_local_path(self) -> None:
        """Make the folder for its files."""
        Path(self.local_path).mkdir(parents=True, exist_ok=True)

    def __hash__(self) -> int:
        return self.number

    def __str__(self) -> str:
        return f"trial {self.number}"


class Logger(LoggerCallback):
    """Passes begin, epochs and end of each trial on to one of Ray's callbacks, under the trial's number and with its design."""

    def __init__(self, name: str, callback: LoggerCallback, search: Search, folder: RunFolder):
        self.name, self.callback, self.search, self.folder = name, callback, search, folder
        self.shown: dict[str, Shown] = {}
        self._background = Background(name, say=_say)

    def setup(self, *arguments: Any, **named: Any) -> None:
        """Open it."""
        self._call(self.callback.setup, *arguments, **named)

    def log_trial_start(self, trial: Any) -> None:
        """Say what the trial is made of and costs."""
        self.shown[trial.trial_id] = shown = self._shown(trial.config)
        shown.init_local_path()
        self._call(self.callback.log_trial_start, shown)

    def log_trial_result(self, iteration: int, trial: Any, result: dict) -> None:
        """Hand on an epoch's numbers, or the accuracy that counts."""
        message = unpacked(result)
        if not isinstance(message, Epoch | Outcome):
            return
        prefix = "final_" if isinstance(message, Outcome) else ""
        numbers = {f"{prefix}{name}": v for name, v in message.model_dump().items() if isinstance(v, int | float)}
        if numbers:
            step = int(numbers.pop("epoch", self.search.proxy.epochs))
            shown = self.shown[trial.trial_id]
            self._call(self.callback.log_trial_result, step, shown, {**numbers, "training_iteration": step})

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """Close the trial."""
        if trial.trial_id in self.shown:
            self._call(self.callback.log_trial_end, self.shown.pop(trial.trial_id), failed)

    def _shown(self, config: dict[str, Any]) -> Shown:
        architecture, number = Architecture.model_validate(config["architecture"]), int(Path(config["weights"]).stem)
        stages = {f"stage{i}.{k}": v for i, s in enumerate(config["architecture"]["stages"], start=1) for k, v in s.items()}
        costs = {UNLOGGED.sub(".", name): value for name, value in self.search.cost(architecture).by_name().items()}
        facts = {"design": architecture.describe(), **costs, **stages}
        root = self.folder.root.resolve()
        own = hashlib.sha256(str(root).encode()).hexdigest()[:12]
        return Shown(number, str(root / self.name / f"trial {number}"), facts, f"{own}-{number}")

    def _call(self, method: Callable, *arguments: Any, **named: Any) -> None:
        self._background.add(partial(method, *arguments, **named))

    def close(self) -> None:
        """Let it finish, though not for long."""
        self._call(self.callback.on_experiment_end, [])
        self._background.close(more=WANDB_SECONDS if self.name == "wandb" else 0)

    def __getstate__(self) -> dict:
        """Nothing: Ray pickles its callbacks, but nothing that a resume needs lives here."""
        return {}


def _say(line: str) -> None:
    Terminal(stderr=True, lasting=True).print(line, soft_wrap=True)
