"""A quantised network as a directory: both files, what was measured, and a page for whoever runs it."""

import json
from pathlib import Path
from typing import Any

from nas.config.text import read_json
from nas.devices.rounds import Timed
from nas.errors import ConfigError, NasError
from nas.export.directory import replace_directory, sweep
from nas.export.preprocessing import pixels_code
from nas.quantization.images import ShownImages
from nas.quantization.quantise import FLOAT_FILE, INT8_FILE, Int8Plan, Quantised, quantise, times_of_files
from nas.quantization.subject import Subject
from nas.units import count, percent

FACTS_FILE = "quantization.json"
WRITTEN_HERE = {FLOAT_FILE, INT8_FILE, FACTS_FILE, "README.md"}
TimesOrWhy = dict[str, Timed] | str
"""By file its time; or why there is none, which is no fault of the network's."""
SECONDS_A_FILE = 5.0  # of timing, at most

INT8_PAGE = """\
# {name}, in int8

{lines}

```python
{pixels}

import onnxruntime

session = onnxruntime.InferenceSession("{file}")
[logits] = session.run(None, {{"images": pixels("cat.jpg")}})  # the class is logits.argmax()
```
"""


def check_free(out: Path, *, force: bool) -> None:
    """NasError unless `out` is new, or an earlier quantisation that may be replaced."""
    if not (out.exists() or out.is_symlink()):
        return
    try:
        own = out.is_dir() and "accuracy_int8" in read_json(out / FACTS_FILE)
    except ConfigError:
        own = False
    if not own or {path.name for path in out.iterdir()} - WRITTEN_HERE:
        raise NasError(f"{out}: must be new, or hold an earlier quantisation and nothing else. Choose another --out.")
    if not force:
        raise NasError(f"{out}: must be new, but holds an earlier quantisation. Choose another, or replace it with --force.")


def write_quantised(subject: Subject, shown: ShownImages, out: Path, plan: Int8Plan) -> tuple[Quantised, TimesOrWhy]:
    """Makes the directory `out`; what became of the network, and the time of both files or why it can't be told."""
    out = Path(out).absolute()
    sweep(out)
    results: list[tuple[Quantised, TimesOrWhy]] = []

    def fill(draft: Path) -> None:
        quantised = quantise(subject.network, shown, draft, plan)
        times = times_or_why(draft, plan, image_size=subject.image_size)
        facts = facts_of(quantised, times, shown, plan)
        (draft / FACTS_FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        lines = "\n".join(f"- {line}" for line in in_lines(quantised, times, shown))
        page = INT8_PAGE.format(name=subject.name, lines=lines, pixels=pixels_code(subject.preprocessing), file=INT8_FILE)
        (draft / "README.md").write_text(page, encoding="utf-8")
        results.append((quantised, times))

    replace_directory(out, fill)
    return results[0]


def times_or_why(folder: Path, plan: Int8Plan, *, image_size: int) -> TimesOrWhy:
    """The time of both files of a folder, or that this machine is too noisy."""
    files = {name: folder / name for name in (FLOAT_FILE, INT8_FILE)}
    try:
        return times_of_files(files, plan, image_size=image_size, seconds=SECONDS_A_FILE * len(files))
    except NasError as error:
        return str(error)


def facts_of(quantised: Quantised, times: TimesOrWhy, shown: ShownImages, plan: Int8Plan) -> dict[str, Any]:
    """What is put down of a quantised network, as JSON data."""
    timed = {} if isinstance(times, str) else times
    return {
        **quantised._asdict(),
        "split": shown.split,
        "judged_images": shown.num_judged,
        "calibration_images": len(shown.calibration),
        "checked_images": len(shown.checked),
        "every_operator": plan.every_operator,
        "latency_ms": timed[FLOAT_FILE].ms if timed else None,
        "latency_int8_ms": timed[INT8_FILE].ms if timed else None,
        "threads": plan.threads,
    }


def in_lines(quantised: Quantised, times: TimesOrWhy, shown: ShownImages) -> list[str]:
    """What a person should know of a quantised network."""
    kept = "; ".join(quantised.in_float)
    return [
        f"top-1 {percent(quantised.accuracy)} in float, {percent(quantised.accuracy_int8)} in int8, on {shown.num_judged:,} "
        f"{shown.split} images; the same answer to {percent(quantised.agreement)} of them",
        f"kept in float, because it hurt: {kept}" if kept else "nothing had to be kept in float besides sums and norms",
        f"{count(quantised.num_bytes)}B in float, {count(quantised.num_bytes_int8)}B in int8",
        f"not timed: {times}" if isinstance(times, str) else _in_words(times[FLOAT_FILE], times[INT8_FILE]),
        f"calibrated by {len(shown.calibration)} training images, checked on {len(shown.checked)} others, where "
        f"{percent(quantised.changed)} of the answers changed",
    ]


def _in_words(before: Timed, after: Timed) -> str:
    return (
        f"{before.ms:.2f} ms in float, {after.ms:.2f} ms in int8 for an image in ONNX Runtime on this machine's CPU, in turns: "
        f"{before.ms / after.ms:.2f} times as fast"
    )
