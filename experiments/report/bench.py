"""What reading, the front and the report of a run cost.

python experiments/report/synthetic.py --trials 10000 --out runs/synthetic
python experiments/report/bench.py runs/synthetic
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from nas.report.page import write_report
from nas.report.terminal import show_front
from nas.results.front import front, load


def timed(what: str, work: Callable[[], Any]) -> Any:
    """What `work` returns; wall and processor seconds are printed."""
    wall, processor = time.perf_counter(), time.process_time()
    found = work()
    print(f"{what:12} {time.perf_counter() - wall:6.2f} s wall {time.process_time() - processor:6.2f} s processor")
    return found


def main(root: Path) -> None:
    quiet = Console(quiet=True)
    trials = timed("load", lambda: load(root))
    timed("front", lambda: front(trials))
    timed("show_front", lambda: show_front((root,), quiet))
    page = timed("report", lambda: write_report(root, quiet))
    print(f"{len(trials):,} trials, page of {page.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
