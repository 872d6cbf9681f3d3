"""A search that suits somebody's images and machine, each setting with its reason; it looks at numbers only."""

import json
import math
from collections.abc import Callable
from typing import NamedTuple

from nas.units import count

PAPERS_SIDE = 224  # pixels at which published MACs are counted
PROXY_SIDES = (132, 100, 68, 36)  # whose maps of strides 4 to 32 are as even as odd numbers allow: 68 gives 17, 9, 5 and 3 px
SMALLEST_GOOD = 68  # below, a map of stride 32 has a pixel or two, on which a token mixer has nothing to mix
IMAGES_SEEN = 15_000  # in a whole training, repeated ones too, from which networks begin to differ
EPOCHS = (4, 30)
FEW_JUDGES = 500  # images to judge by, of which one is 0.2 points
FEWEST_OF_A_CLASS = 10
FORWARD_PASSES = 3  # a backward pass costs about two forward passes
PROPOSED_TRIALS = 40
TRIALS_WITHIN = (12, 200)  # what fewer or more time is spent on
WIDTHS = {1: {"width": [16, 32, 48]}, 2: {"width": [32, 64, 96]}, 3: {"width": [96, 160, 224]}, 4: {"width": [192, 256, 384]}}


class ImageFacts(NamedTuple):
    """What somebody's training images are."""

    classes: int
    images: int
    fewest: int
    """Images of the smallest class."""
    side: int
    """Shorter side in pixels, as the median has it."""


class ProposedSetting(NamedTuple):
    """One setting with the reason for it."""

    path: str
    value: object
    why: str


AUGMENTATION = (
    ProposedSetting("proxy.flip", True, "right for photos; false for text, digits, maps, anything with a left and a right"),
    ProposedSetting("proxy.crop_scale", [0.35, 1.0], "random crops, since a short training of few images overfits"),
    ProposedSetting("proxy.crop_padding", 0, "the crops above are enough"),
)


def proposal(
    facts: ImageFacts,
    *,
    hours: float,
    workers: int,
    macs_at: Callable[[int], float],
    macs_a_second: float | None,
    has_gpu: bool,
) -> list[ProposedSetting]:
    """Settings over the flagship space for a search of about so many hours.

    `macs_at` gives a typical network's MACs at a size, `macs_a_second` a core's speed in training; None where nobody knows it.
    """
    budget = hours * 3600 * workers
    size, each, epochs = _affordable(facts, budget, macs_at, macs_a_second)
    used = facts.images if each is None else min(facts.images, each * facts.classes)
    trials = PROPOSED_TRIALS
    if macs_a_second is not None:
        fewest, most = TRIALS_WITHIN
        trials = max(fewest, min(most, int(trials * budget / _seconds(size, used, epochs, macs_at, macs_a_second))))
    share = 0.2 if used * 0.2 >= FEW_JUDGES else 0.3
    some = "all of them" if each is None else f"of {facts.images:,} in all, as many as there is time for"
    settings = [
        *_space_settings(facts),
        ProposedSetting("search.trials", trials, "as many as there is time for; 40 are enough for a front"),
        ProposedSetting("proxy.image_size", size, _why_size(size, facts, macs_a_second)),
        ProposedSetting("proxy.images_per_class", each, some),
        ProposedSetting("proxy.validation_share", share, f"about {share * used:,.0f} images to judge by"),
        ProposedSetting("proxy.epochs", epochs, f"each network sees some {epochs * used * (1 - share):,.0f} images"),
        ProposedSetting("proxy.rungs", [max(1, epochs // 3)], "a look after a third: the most promising go on"),
        ProposedSetting("proxy.warmup_epochs", min(1.0, epochs / 4), "a short one"),
        *AUGMENTATION,
    ]
    return [*settings, ProposedSetting("resources.gpu", 0.25, "four trials share the card")] if has_gpu else settings


def _space_settings(facts: ImageFacts) -> list[ProposedSetting]:
    """At which size and number of classes costs are counted, and what suits these costs."""
    counted = PAPERS_SIDE if facts.side >= SMALLEST_GOOD * 2 else max(64, 32 * math.ceil(facts.side / 32))
    scale = (counted / PAPERS_SIDE) ** 2
    families = {"families": ["poolformerv2", "caformer"], "at": [_in_giga(0.15 * scale), _in_giga(0.5 * scale)]}
    return [
        ProposedSetting(
            "space.image_size", counted, f"MACs are counted at this size; the images have about {facts.side} px a side"
        ),
        ProposedSetting("space.num_classes", facts.classes, "as many as there are folders"),
        ProposedSetting("space.stages", WIDTHS, "wider than for the digits"),
        ProposedSetting(
            "constraints.macs", {"min": _in_giga(0.05 * scale), "max": _in_giga(scale)}, "from a phone to a laptop"
        ),
        ProposedSetting("baselines", families, "published families, scaled to costs inside the limits"),
    ]


def _affordable(
    facts: ImageFacts, seconds: float, macs_at: Callable[[int], float], macs_a_second: float | None
) -> tuple[int, int | None, int]:
    """The largest size, images of each class (None for all) and epochs that a search has the time for."""
    sides = [side for side in PROXY_SIDES if side <= max(facts.side, SMALLEST_GOOD)] or [PROXY_SIDES[-1]]
    sides = [side for side in sides if side >= SMALLEST_GOOD] or sides
    for side in sides:
        epochs = _epochs(facts.images)
        if macs_a_second is None or _seconds(side, facts.images, epochs, macs_at, macs_a_second) <= seconds:
            return side, None, epochs
    side, most = sides[-1], facts.images
    assert macs_a_second is not None, "an unknown speed takes the largest size"
    while most > FEWEST_OF_A_CLASS * facts.classes and _seconds(side, most, _epochs(most), macs_at, macs_a_second) > seconds:
        most = int(0.9 * most)
    return side, max(FEWEST_OF_A_CLASS, most // facts.classes), _epochs(most)


def _seconds(side: int, images: int, epochs: int, macs_at: Callable[[int], float], macs_a_second: float) -> float:
    """Of one core, for all trials: each is trained to the rung, a third of them to the end."""
    whole = PROPOSED_TRIALS * (max(1, epochs // 3) + (epochs - max(1, epochs // 3)) / 3)
    return whole * images * FORWARD_PASSES * macs_at(side) / macs_a_second


def _epochs(images: int) -> int:
    low, high = EPOCHS
    return min(high, max(low, round(IMAGES_SEEN / images)))


def _why_size(size: int, facts: ImageFacts, macs_a_second: float | None) -> str:
    if macs_a_second is None:
        return "the speed of the GPU is not known: raise it if trials are short"
    if size < facts.side and size < PROXY_SIDES[0]:
        return f"larger images ({facts.side} px) would take longer than the time that was asked for"
    return f"at {count(macs_a_second)} MACs a second of training on a core, as measured here"


def _in_giga(number: float) -> str:
    return f"{number:.2g}G"


def in_yaml(settings: list[ProposedSetting], *, head: list[str], name: str, extends: str, data: str) -> str:
    """The settings as a commented YAML text, a line each with its reason."""
    lines = [*(f"# {line}" for line in head), f"name: {name}", f"extends: {extends}", ""]
    sections: dict[str, list[str]] = {}
    for path, value, why in settings:
        section, _, key = path.partition(".")
        text = f"{key or section}: {_flow(value)}"
        sections.setdefault(section, []).append(f"{text}  # {why}")
    sections["proxy"].insert(0, f"data: {json.dumps(data, ensure_ascii=False)}")
    for section, rows in sections.items():
        lines += rows if len(rows) == 1 and rows[0].startswith(section) else [f"{section}:", *(f"  {row}" for row in rows)]
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def _flow(value: object) -> str:
    """A value as YAML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)  # JSON is YAML
