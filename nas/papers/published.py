"""What others have trained on ImageNet-1k: timm's published results, to see where a search's costs stand in the field.

`timm_imagenet1k.csv`: 1,054 rows of timm's results (Apache-2.0, its results and benchmark files as of August 2026), models
trained on ImageNet-1k alone up to 20 G MACs: name, image size, top-1 in per cent, millions of params, G MACs as timm's
benchmark counts them (multiply-adds of convolutions and matrix products), and whether the name says that it had a teacher.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from nas.pareto import pareto

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED_RESULTS = Path(__file__).with_name("timm_imagenet1k.csv")
PUBLISHED_ABOUT = (
    "Published: timm's results of August 2026, trained in full on ImageNet-1k alone and without a teacher; MACs as timm counts "
    "them, at each model's own size. The proxy's accuracies are of a short training on other images: the two share no axis."
)


def published_front(low: float, high: float) -> "pd.DataFrame":
    """The published models that no other beats in top-1, MACs and params at once, from the last below `low` MACs to the first
    above `high`, cheapest first: `model`, `img_size`, `top1` (a share), `params`, `macs`."""
    import pandas as pd

    rows = pd.read_csv(PUBLISHED_RESULTS)
    rows = rows[~rows["distilled"]].assign(top1=rows["top1"] / 100, params=rows["params_m"] * 1e6, macs=rows["gmacs"] * 1e9)
    costs = rows[["macs", "params"]].to_numpy()
    best = rows.iloc[pareto([(-top1, *own) for top1, own in zip(rows["top1"], costs, strict=True)])].sort_values("macs")
    macs = best["macs"].to_numpy()
    first = max(int((macs <= low).sum()) - 1, 0)
    last = min(int((macs <= high).sum()), len(best) - 1)
    return best.iloc[first : last + 1][["model", "img_size", "top1", "params", "macs"]].reset_index(drop=True)
