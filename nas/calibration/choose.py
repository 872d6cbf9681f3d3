"""Which short training buys most for a budget, as a search space that extends the one that was calibrated."""

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml
from rich.console import Console

from nas.calibration.analysis import Analysis, of
from nas.calibration.plan import Plan
from nas.calibration.ranking import Estimate
from nas.calibration.record import Trainings
from nas.calibration.show import check_proportion, expected_seconds, show_estimate
from nas.calibration.signals import heading, of_one_training
from nas.cores import num_cores
from nas.errors import ConfigError, NasError
from nas.files import write_whole
from nas.recipes.recipe import Proxy
from nas.run.folder import RunFolder
from nas.run.settings.search import Search
from nas.terminal import command
from nas.units import duration

PILOT_SHARE = 0.25  # of the budget that a pilot may be expected to take
FEWEST_TRIALS = 10  # below which no search is worth its pilot
CHOSEN = "chosen.yaml"


class Choice(NamedTuple):
    """A fidelity and signal for a search, and what is to be expected of them."""

    fidelity: str
    signal: str
    tau: Estimate
    hours: float
    """Of the whole search, no training stopped at a rung."""
    trials: int


def hours_of(search: Search, trainings: int, seconds: float) -> float:
    """What so many trainings take: GPU-hours where trials get a GPU or a share of one, else hours on this machine."""
    resources = search.resources
    share = resources.gpu if resources.gpu else 1 / (resources.workers or max(1, int(num_cores() / resources.cpu)))
    return trainings * seconds * share / 3600


def announced(plan: Plan, done: Trainings, *, console: Console, hours: float | None, is_sure: bool) -> None:
    """Show what will be trained; ConfigError where that is too much for the budget, or unless one `is_sure` for the search."""
    show_estimate(plan, done, console)
    if not is_sure:
        check_proportion(plan, done)
    if hours is not None:
        check_pilot(plan, expected_seconds(plan, done), hours)


def check_pilot(plan: Plan, seconds: float | None, hours: float) -> None:
    """ConfigError where the trainings that a calibration still lacks are expected to take more than a quarter of the budget."""
    if seconds is None or seconds / 3600 <= PILOT_SHARE * hours:
        return
    settings = plan.search.calibration
    raise ConfigError(
        f"--choose: the pilot must take at most {PILOT_SHARE:.0%} of the budget, but of {duration(3600 * hours)} its "
        f"{len(plan.trainings)} trainings would take about {duration(seconds)}. Give more hours, or make the pilot smaller: "
        f"calibration.random (now {settings.random}), calibration.seeds (now {settings.seeds}), calibration.fidelities."
    )


def chosen(search: Search, analysis: Analysis, hours: float) -> Choice:
    """What ranks best among the trainings that the budget allows for the search's trials, the reference's own included; where
    all are too dear for that many, the cheapest with as many as it allows; NasError where these are too few."""
    able_to_say = ~analysis.fidelities.is_reference | (analysis.seeds != 1)  # one seed of the reference agrees with itself
    rows = analysis.fidelities[able_to_say].set_index("fidelity")
    signals = of_one_training(analysis.signals[analysis.signals.fidelity.isin(rows.index) & analysis.signals.tau.notna()])
    if signals.empty:
        raise NasError("--choose: must have trainings to choose from, but none can be judged yet. Continue the calibration.")
    number = search.trials + len(search.baselines)
    needed = signals.fidelity.map(lambda name: hours_of(search, number, rows.seconds[name]))
    able = signals[needed <= hours]
    if len(able):
        best = able.loc[able.tau.idxmax()]
        return Choice(best.fidelity, best.signal, of(best, "tau"), float(needed[best.name]), search.trials)
    cheapest = signals[needed == needed.min()]
    best = cheapest.loc[cheapest.tau.idxmax()]
    each = hours_of(search, 1, rows.seconds[best.fidelity])
    trials = int(hours / each) - len(search.baselines)
    if trials < FEWEST_TRIALS:
        raise NasError(
            f"--choose: must allow at least {FEWEST_TRIALS} trials beside the baselines, but {duration(3600 * hours)} allow "
            f"{max(trials, 0)} of the cheapest training ({best.fidelity}, {duration(rows.seconds[best.fidelity])}). "
            "Give more hours."
        )
    return Choice(best.fidelity, best.signal, of(best, "tau"), (trials + len(search.baselines)) * each, trials)


def settings_of_choice(search: Search, recipe: Proxy, choice: Choice) -> dict[str, Any]:
    """What the choice changes in the search, as its YAML says it."""
    own, new = search.proxy.model_dump(mode="json"), recipe.model_dump(mode="json")
    changes = {name: value for name, value in new.items() if value != own[name] and name != "rungs"}
    scaled = sorted({max(1, round(rung * recipe.epochs / search.proxy.epochs)) for rung in search.proxy.rungs})
    rungs = [rung for rung in scaled if rung < recipe.epochs]
    changes |= {"rungs": rungs} if rungs != list(search.proxy.rungs) else {}
    changes["signal"] = "accuracy" if choice.signal == "accuracy" else "losses"
    settings: dict[str, Any] = {"name": f"{search.name}-chosen", "proxy": changes}
    return settings | ({"search": {"trials": choice.trials}} if choice.trials != search.trials else {})


def show_choice(plan: Plan, analysis: Analysis, hours: float, *, root: Path, console: Console) -> None:
    """Write chosen.yaml beside what the calibration found, and say what to expect of it and the next command."""
    choice = chosen(plan.search, analysis, hours)
    path = RunFolder(root).calibration / CHOSEN
    settings = settings_of_choice(plan.search, plan.fidelities[choice.fidelity], choice)
    of_what = " of GPU time" if plan.search.resources.gpu else ""
    head = [
        f"For {duration(3600 * hours)}{of_what}: the training called {choice.fidelity}, judged by {heading(choice.signal)}.",
        f"Kendall tau to {plan.against}: {choice.tau}, on {len(analysis.ranked)} architectures.",
        f"{choice.trials} trials and {len(plan.search.baselines)} baselines take about "
        f"{duration(3600 * choice.hours)}{of_what}, less what rungs spare.",
    ]
    text = "".join(f"# {line}\n" for line in head) + yaml.safe_dump({"extends": "../search.yaml", **settings}, sort_keys=False)
    write_whole(path, text)
    for line in [*head, *_doubt(choice, analysis.signals), f"Next: {command('search', path)}"]:
        console.print(line, soft_wrap=True)


def _doubt(choice: Choice, signals: pd.DataFrame) -> list[str]:
    """What to say where the chosen ranking is not shown to be better than counting parameters."""
    row = signals[(signals.fidelity == choice.fidelity) & (signals.signal == choice.signal)].iloc[0]
    over = of(row, "over_params")
    if over.low > 0:
        return []
    return [f"It is not shown to rank better than the number of parameters: difference {over}. A larger pilot tells more."]
