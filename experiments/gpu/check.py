"""All that only a GPU can show of training and measuring, in one run: a JSON line a stage, then a table for the README.

    python experiments/gpu/check.py --budget 480           # on a GPU, in under eight minutes
    python experiments/gpu/check.py --device cpu --dry      # anywhere, in a minute: whether the stages run

Each stage is a process of its own with a time limit, so that one that hangs, or breaks the card's context, costs itself alone.
It needs torch, timm and this package, without Ray and Optuna. Exit code 1 where a stage failed or a rule doesn't hold.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from stages import STAGES, Setting

START_SECONDS = 20.0  # for a process to import torch and open the card
HOLDS = "holds"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", help=f"Some of {', '.join(STAGES)}; all if none is named.")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu.")
    parser.add_argument("--dry", action="store_true", help="Small sizes and few steps, memory's end played: whether it runs.")
    parser.add_argument("--budget", type=float, default=480, help="Seconds in all; stages that don't fit are named, not begun.")
    parser.add_argument("--out", type=Path, default=Path("gpu.jsonl"), help="A JSON line a stage, written as it ends.")
    asked = parser.parse_args()
    if unknown := [name for name in asked.stages if name not in STAGES]:
        parser.error(f"no stage is called {', '.join(unknown)}; there are {', '.join(STAGES)}")
    facts = list(results(asked.stages or list(STAGES), Setting(asked.device, asked.dry), asked.budget, asked.out))
    print(table(facts))
    raise SystemExit(any("trouble" in each or each.get(HOLDS) is False for each in facts))


def results(names: list[str], setting: Setting, budget: float, out: Path) -> Iterator[dict[str, Any]]:
    """What each stage found, as it ends; those for which no time is left are said to be missing."""
    began = time.monotonic()
    with out.open("w", encoding="utf-8") as file:
        for name in names:
            left = budget - (time.monotonic() - began)
            limit = min(left, STAGES[name].seconds + START_SECONDS)
            fact = {
                "stage": name,
                **(carried_out(name, setting, limit) if left > START_SECONDS else {"trouble": "no time left"}),
            }
            file.write(f"{json.dumps(fact)}\n")
            file.flush()
            print(f"{name}: {fact.get('trouble', 'done')} ({fact.get('took', 0):.0f} s)", file=sys.stderr, flush=True)
            yield fact


def carried_out(name: str, setting: Setting, limit: float) -> dict[str, Any]:
    """One stage in a process of its own, which is ended at its limit; what it found, or its trouble."""
    began = time.monotonic()
    context = multiprocessing.get_context("fork" if setting.dry else "spawn")  # CUDA lives in no fork
    with tempfile.TemporaryDirectory() as scratch:
        answer = Path(scratch) / "answer.json"
        process = context.Process(target=answered, args=(name, setting, Path(scratch), answer))
        process.start()
        process.join(limit)
        if process.is_alive():
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that it started
            process.join()
            fact: dict[str, Any] = {"trouble": f"not done after {limit:.0f} s"}
        elif answer.exists():
            fact = json.loads(answer.read_text())
        else:
            fact = {"trouble": f"the process ended with exit code {process.exitcode}"}
    return {**fact, "took": round(time.monotonic() - began, 1)}


def answered(name: str, setting: Setting, scratch: Path, answer: Path) -> None:
    """In the stage's process: its facts, or its error, as a file."""
    os.setpgrp()
    if setting.dry:
        torch.set_num_threads(1)
    try:
        fact = STAGES[name].run(setting, scratch)
    except Exception as error:  # a stage may fail in any way; that is what it is there to show
        fact = {"trouble": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    with contextlib.suppress(OSError):
        answer.write_text(json.dumps(fact, default=str))


def table(facts: list[dict[str, Any]]) -> str:
    """Markdown: hardware and versions in the head, a row for each figure."""
    head = next((each for each in facts if each["stage"] == "facts" and "trouble" not in each), {})
    own = {"stage", "took", HOLDS, "trouble"}
    lines = [
        ", ".join(f"{key} {value}" for key, value in head.items() if key not in own),
        "",
        "| stage | found | rule |",
        "|---|---|---|",
    ]
    for each in facts:
        if each is head:
            continue
        found = each.get("trouble") or " · ".join(f"{key} {value}" for key, value in each.items() if key not in own)
        rule = {True: "holds", False: "BROKEN", None: ""}[each.get(HOLDS)]
        lines.append(f"| {each['stage']} | {found} | {rule} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
