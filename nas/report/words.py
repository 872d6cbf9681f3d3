"""What the report says in words and tables."""

import random
import re
from typing import Any

import pandas as pd

from nas.calibration.quote import is_calibrated, quote
from nas.config.text import parse_yaml, read_text
from nas.devices.device_file import DeviceFile
from nas.papers.published import PUBLISHED_ABOUT, published_front
from nas.report.advice import advise
from nas.report.devices import device_in_words, quality_in_words
from nas.report.ending import outlook_lines
from nas.report.findings import Findings
from nas.report.importance import FEWEST_TRAININGS
from nas.report.terminal import EXPECTED, above_in_words
from nas.results.columns import axis_label
from nas.results.course import failures, rejections, saved, time_by_fate
from nas.results.families import lead_over_families
from nas.results.int8 import int8_in_words
from nas.results.latencies import above_limits, chosen_setup
from nas.results.noise import Noise, highest, judged_by, noise_of
from nas.results.points import front, labels, searched
from nas.results.standing import Entry, entries, ties
from nas.run.front import reference_costs
from nas.run.record import TRAINED, TrialState
from nas.run.settings.search import RUN_FACTS, Search
from nas.space.constraints import random_architecture
from nas.space.costs import cost_kind, device_in
from nas.space.mixers import legend
from nas.space.reference import IMAGENET_CLASSES
from nas.units import count, duration, percent

FEASIBLE_DRAWS = 1000
GLOSSARY = (
    ("front", "The networks that no other beats in both accuracy and cost."),
    ("tie", "Two networks whose difference the noise could have made."),
    ("knee", "The network of the front after which more cost buys the least."),
    ("expected", "The accuracy that other seeds and images should give: what was measured, less its luck."),
    ("hypervolume", "The share of the box between no cost and the limit, no accuracy and all, that the front covers."),
    ("proxy", "The short training that stands for a long one."),
    ("rung", "An epoch after which a trial waits; the most promising go on."),
    ("baseline", "A published design, trained the same way in the same search."),
    ("MACs", "Multiply-accumulates for one image."),
)
HIDDEN = ("unreadable_share", "retry_lr", "channels_last", "compile")  # settings of a training that say nothing of its result


def words(findings: Findings) -> dict[str, Any]:
    """Every text and table of the page by its name in the template."""
    texts = {
        **_head(findings),
        **_front_section(findings),
        **_course(findings),
        **_choices_and_space(findings),
        **_trust(findings),
    }
    return {name: unbroken(value) if isinstance(value, str) else value for name, value in texts.items()}


def unbroken(text: str) -> str:
    """The text with numbers that no line's end tears from their units."""
    held = re.sub(r"(?<=\d) (?=(?:%|MACs|[kMGTP]|min|h|s|px)\b|%)", "\u00a0", text)
    return re.sub(r"(?<=\u00a0[kMGTP]) (?=MACs|params)", "\u00a0", held)


def _head(findings: Findings) -> dict[str, Any]:
    trials, best, search = findings.trials, findings.best, findings.search
    states = trials["state"].value_counts()
    whole, trained = states.get(TrialState.COMPLETE, 0), sum(states.get(s, 0) for s in TRAINED)
    top, equals = highest(trials, best)
    bend = ""
    if findings.standing.knee is not None:
        row = best.loc[findings.standing.knee]
        bend = f" The knee, trial {row['trial']}, has {percent(row['accuracy'])} at {count(row['macs'])} MACs."
    lead = (
        f"{whole:,} of {search.trials + len(search.baselines):,} architectures were trained in full; "
        f"{_range(best, stopped=states.get(TrialState.STOPPED, 0))} "
        f"{_top(top, equals, noise=noise_of(findings.reading))}{bend}{_blind(findings)}"
    )
    tiles = [
        ("highest expected accuracy", percent(top["expected"]), _told_apart(top, equals)),
        ("on the front", str(len(best)), f"{len(findings.standing.open):,} more could be on it"),
        ("hypervolume", f"{findings.course['hypervolume'].iloc[-1]:.4f}", "how much accuracy for how little cost, 0 to 1"),
        ("machine time", duration(time_by_fate(trials)["seconds"].sum()), f"{trained:,} trainings"),
        (
            "failed",
            f"{states.get(TrialState.FAILED, 0):,}",
            _at_rungs(states),
        ),
    ]
    return {"name": search.name, "headline": _headline(findings, top), "lead": lead, "tiles": tiles, "glossary": GLOSSARY}


def _headline(findings: Findings, top: pd.Series) -> str:
    """The story in one line: what was reached at which cost on which data, and what the best baseline reaches."""
    data = findings.search.proxy.data
    where = "the digits" if data == "digits" else data.rstrip("/").rpartition("/")[2]
    text = f"{percent(top['accuracy'])} at {count(top['macs'])} MACs on {where}"
    done = findings.trials[(findings.trials["state"] == TrialState.COMPLETE) & findings.trials["baseline"].notna()]
    rivals = done[done.index != top.name]
    if not len(rivals):
        return text
    rival = rivals.loc[rivals["accuracy"].idxmax()]
    return f"{text}; {rival['baseline']} reaches {percent(rival['accuracy'])} at {count(rival['macs'])}"


def _at_rungs(states: pd.Series) -> str:
    """How many trials rungs ended, and how many still wait there."""
    waiting = states.get(TrialState.PAUSED, 0)
    more = f", {waiting:,} {TrialState.PAUSED.words}" if waiting else ""
    return f"{states.get(TrialState.STOPPED, 0):,} {TrialState.STOPPED.words}{more}"


def _range(best: pd.DataFrame, *, stopped: int) -> str:
    """How many networks the front has, and what they cost."""
    low, high = count(best["macs"].min()), count(best["macs"].max())
    if len(best) == 1:
        why = f"; {stopped:,} others got no farther than a rung, so that more may be as good" if stopped else ""
        return f"One of them is the front, at {low} MACs{why}."
    return f"{len(best)} of them form the front between {low} and {high} MACs."


def _blind(findings: Findings) -> str:
    judged = judged_by(findings.reading)
    blind = None if judged is None else judged.blind(findings.best)
    return "" if blind is None else f" {blind}"


def _top(top: pd.Series, equals: pd.DataFrame, *, noise: Noise) -> str:
    """The highest accuracy without a winner that the data does not support."""
    measured = f"trial {top['trial']}, measured {percent(top['accuracy'])}"
    text = f"The highest expected accuracy is {percent(top['expected'])} ({measured})"
    if pd.isna(top["accuracy_low"]):
        return f"{text}; how far it could be off is not known."
    if not len(equals):
        images = "" if noise.seeds is not None else " of the images judged by; that between seeds was not measured"
        return f"{text}, above all others that were trained in full by more than the noise{images}."
    number = f"{len(equals)} other{'s' if len(equals) > 1 else ''}"
    cheapest = equals["macs"].min()
    beside = f"; the cheapest of these has {count(cheapest)} MACs" if cheapest < top["macs"] else ""
    return f"{text}, but the noise leaves {number} as good{beside}."


def _told_apart(top: pd.Series, equals: pd.DataFrame) -> str:
    others = f"tied with {len(equals)} other{'s' if len(equals) > 1 else ''}"
    return f"trial {top['trial']}, {others if len(equals) else count(top['macs']) + ' MACs'}"


def _front_section(findings: Findings) -> dict[str, Any]:
    against = " and ".join(axis_label(c) for c in findings.search.objectives[1:])
    rows, others = ([_row(entry) for entry in listed(findings.standing)] for listed in (entries, ties))
    setup, quantised = chosen_setup(findings.reading, None), int8_in_words(findings.trials)
    return {
        "found_text": f"No network of the front is beaten by another in both expected accuracy and {against}. "
        "Bars are 95 % intervals.",
        "rows": rows,
        "ties": others,
        "on_fronts": _on_fronts(findings),
        "lucky": findings.standing.is_lucky,
        "again": bool(findings.trials["replicates"].any()),
        "letters": f"{legend(row['line'] for row in rows + others)}.",
        "families": _families(findings),
        "published": _published(findings),
        "published_text": PUBLISHED_ABOUT,
        "noise": _noise(findings),
        "devices": [cost_kind(name).heading for name in findings.search.foretold],
        "about_devices": [_about(name, file, findings) for name, file in findings.search.foretold.items()],
        "int8": None if quantised is None else f"In {quantised}.",
        "latency": None if setup is None else f"Latency is of a batch: {setup}; {setup.trials} networks were measured.",
    }


def _about(name: str, file: DeviceFile, findings: Findings) -> str:
    """On what a device file was measured, how good it is, and which networks broke its limit."""
    above = above_limits(findings.trials, findings.search).get(name)
    broken = "" if above is None else f"; {above_in_words(name, above)}"
    return f"{cost_kind(name).heading}: {device_in_words(file)}; {quality_in_words(file)}{broken}."


def _on_fronts(findings: Findings) -> list[tuple[str, str, list[str], str]]:
    """Each network of the front or of one against another cost: its trial, accuracy, on which of these it is, and its line."""
    trials = findings.trials
    fronts = [findings.best.index, *(front(trials, cost, "expected").index for cost in findings.other_costs)]
    rows = trials.loc[trials.index[trials.index.isin([i for index in fronts for i in index])]].sort_values("accuracy")
    return [
        (labels(trials)[i], percent(row["accuracy"]), ["on it" if i in index else "" for index in fronts], row["stages"])
        for i, row in rows.iterrows()
    ]


def _families(findings: Findings) -> str | None:
    """How far the search is ahead of hand-made families at equal cost, where any was trained at several."""
    best, cost = findings.standing.best, findings.standing.costs[0]
    lead = lead_over_families(findings.trials, best, cost)
    if lead is None:
        return None
    text = lead.in_words(cost)
    return f"{text[:1].upper()}{text[1:]}."


def _published(findings: Findings) -> list[tuple[str, str, str, str, int]]:
    """What others have trained on ImageNet-1k at about the MACs of the front; nothing where these count other classes."""
    if findings.search.space.num_classes != IMAGENET_CLASSES:
        return []
    macs = findings.standing.best["macs"]
    rows = published_front(macs.min(), macs.max()).itertuples()
    return [(r.model, percent(r.top1), count(r.macs), count(r.params), r.img_size) for r in rows]


def _noise(findings: Findings) -> str:
    judged = judged_by(findings.reading)
    shares = "" if judged is None else f" {str(judged)[:1].upper()}{str(judged)[1:]}."
    luck = f" {EXPECTED[:1].upper()}{EXPECTED[1:]}." if findings.standing.is_lucky else ""
    return f"{str(noise_of(findings.reading)).capitalize()}.{luck}{shares}"


def _row(entry: Entry) -> dict[str, Any]:
    row = entry.row
    span = "" if pd.isna(row["accuracy_low"]) else f"{100 * row['accuracy_low']:.1f} to {100 * row['accuracy_high']:.1f}"
    return {
        "trial": row["trial"], "accuracy": percent(row["accuracy"]), "expected": percent(row["expected"]), "interval": span,
        "seeds": max(row["replicates"], 1),
        "macs": count(row["macs"]), "params": count(row["params"]),
        "devices": [cost_kind(name).write(row[name]) for name in row.index if device_in(name)],
        "int8": "" if pd.isna(row["accuracy_int8"]) else percent(row["accuracy_int8"]),
        "latency": "" if pd.isna(row["latency_ms"]) else f"{row['latency_ms']:.1f} ms", "line": row["stages"],
        "note": _note(entry), "on_front": entry.on_front,
    }  # fmt: skip


def _note(entry: Entry) -> str:
    """A network's remark, with the name of a baseline whose table shows its architecture."""
    is_named = entry.on_front or entry.design is None
    return entry.remark if is_named else f"{entry.design}, {entry.remark}"


def _course(findings: Findings) -> dict[str, Any]:
    spared, fates = saved(findings.trials), time_by_fate(findings.trials)
    reference = ", ".join(count(v) for v in reference_costs(findings.search))
    return {
        "volume_text": f"Hypervolume is the share of the box from no cost to {reference}, and from accuracy 1 to 0, that the "
        "front dominates. Time is summed over trainings, however many ran at once."
        + "".join(f" {line[:1].upper()}{line[1:]}." for line in outlook_lines(findings.reading)),
        "ledger": [(r.what, r.trainings, duration(r.seconds), percent(r.share)) for r in fates.itertuples()],
        "saved": f"Rungs spared about {duration(spared['rungs'])}, answers from the record {duration(spared['record'])}, "
        f"results of other runs {duration(spared['runs'])}.",
        "failures": [(r.kind, r.trials, r.example) for r in failures(findings.trials).itertuples()],
    }


def _choices_and_space(findings: Findings) -> dict[str, Any]:
    number = len(searched(findings.trials))
    if number < FEWEST_TRAININGS:
        text = (
            f"Only {number} searched networks were trained in full; from {FEWEST_TRAININGS} on, "
            "this section says which choices matter."
        )
    else:
        sure = findings.importances[findings.importances["share"] > findings.importances["chance"]]["axis"].head(4).tolist()
        text = (
            f"More than chance would bring, {', '.join(sure)} go with what is good at equal MACs."
            if sure
            else "No choice stands out from chance at equal MACs yet."
        ) + " Correlation in what was tried, not proof: the search tried good choices more often."
    text = " ".join([text, *findings.search.seen.remarks])
    return {"choices_text": text, **_refused(findings), "advice": _advice(findings)}


def _refused(findings: Findings) -> dict[str, Any]:
    asked, refused, limits = rejections(findings.reading)
    space, rng = findings.search.space, random.Random(0)
    able = sum(
        findings.search.constraints.allow(findings.search.cost(random_architecture(space, rng))) for _ in range(FEASIBLE_DRAWS)
    )
    return {
        "refused_text": f"{percent(able / FEASIBLE_DRAWS)} of the space’s {space.size:,} architectures meet the constraints, "
        f"by {FEASIBLE_DRAWS:,} random draws. The search proposed {asked:,}; {refused:,} "
        f"({percent(refused / max(asked, 1))}) were refused before any training.",
        "refused": limits.most_common(),
    }


def _plain(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _advice(findings: Findings) -> list[Any]:
    calibrated = is_calibrated(findings.reading.folder.root)
    facts = {
        "effects": findings.effects,
        "importances": findings.importances,
        "course": findings.course,
        "calibrated": calibrated,
    }
    return advise(findings.trials, findings.best, findings.search, **facts)


def _seeds(search: Search) -> dict[str, int]:
    seeds = {"proposals": search.proposal_seed, "split": search.split_seed, "trainings": search.training_seed}
    if len(set(seeds.values())) == 1:
        return {"seed": search.proposal_seed}
    return {f"seed of {name}": seed for name, seed in seeds.items()}


def _trust(findings: Findings) -> dict[str, Any]:
    folder, recipe = findings.reading.folder, findings.search.proxy.model_dump(mode="json", exclude_none=True)
    head = parse_yaml(read_text(folder.search_yaml), where=str(folder.search_yaml)).get(RUN_FACTS, {})
    hashes = sorted({str(h) for h in findings.trials["manifest"].dropna()})
    facts = {
        "manifest": ", ".join(hashes) or "none",
        "judged by": f"{noise_of(findings.reading).images or 0:,} images",
        **_seeds(findings.search),
    }
    facts |= {"sampler": findings.search.sampler, "started": head.get("started", "unknown"), **head.get("versions", {})}
    return {
        "quote": f"The {quote(folder.root)}.".replace("The proxy: ", "The proxy’s ranking: "),
        "recipe": [
            (k.replace("_", " "), _plain(v)) for k, v in recipe.items() if k not in HIDDEN and v not in ({}, [], 0.0, False)
        ],
        "provenance": list(facts.items()),
    }
