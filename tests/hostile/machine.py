"""A command run in this process as a user would run it, and what may be said of any command that refuses."""

import contextlib
import io
import os
import re
import signal
import stat
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nas.cli.app import run_reporting
from nas.cli.main import app

SECRET = "hunter2-Zq"  # stands in every variable and URL that must not be shown
VARIABLES = ("NAS_STORAGE", "RAY_AUTH_TOKEN", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD")
SECONDS = 10
LONGEST_LINE = 700
WAYS_OUT = re.compile(
    r"\b(Mend|Ask|Restore|see|Choose|Give|Name|Write|Check|Set|Install|Remove|Leave|Lower|Start|Add|Use|Take|Rename|Move|Put|Make|Copy|"
    r"Train|Finish|Free|Continue|Loosen|Wait|Say|Look|Unset|Convert|Download|Call|Shorten|Unpack|did you mean|Known|must|needs|"
    r"measure|choose|write|such as|leave|remove|give|required)\b"
)


class Slow(BaseException):
    """A command took longer than it may."""


class Outcome(NamedTuple):
    """How a command ended."""

    code: object
    out: str
    err: str
    crash: str
    """A traceback where there was one."""


def run(*arguments: str) -> Outcome:
    """A command of `nas` in this process, in the current folder."""
    out, err = _Text(), _Text()
    before, crash, code = sys.argv, "", None
    sys.argv = ["nas", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _at_most(SECONDS):
            run_reporting(app)
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        crash = traceback.format_exc()
    finally:
        sys.argv = before
    return Outcome(code, out.getvalue(), err.getvalue(), crash)


class _Text(io.StringIO):
    def isatty(self) -> bool:
        return False


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Slow(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def tree(root: Path) -> dict[str, object]:
    """Every file below a folder with its content, and what else lies there by its kind."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        mode = os.lstat(path).st_mode
        is_file = stat.S_ISREG(mode)
        found[str(path.relative_to(root))] = path.read_bytes() if is_file and os.access(path, os.R_OK) else stat.S_IFMT(mode)
    return found


def trouble(outcome: Outcome, before: dict[str, object], after: dict[str, object], *, says: tuple[str, ...]) -> list[str]:
    """What is wrong with how a command ended; empty where nothing is."""
    shown = outcome.out + outcome.err
    lines = []
    if outcome.crash and "Begun" not in outcome.crash:
        lines.append(f"it crashed: {outcome.crash[-1500:]}")
    elif outcome.code not in (0, 2) and not outcome.crash:
        lines.append(f"it ended with {outcome.code}")
    if "Traceback" in shown:
        lines.append("it showed a traceback")
    if outcome.code == 2:
        lines += _of_a_refusal(outcome, before, after, says)
    if SECRET in shown:
        lines.append(f"it showed a secret: {shown}")
    lines += [f"{name} holds a secret" for name, content in after.items() if _holds_secret(content, before.get(name))]
    return lines


def _holds_secret(content: object, before: object) -> bool:
    return isinstance(content, bytes) and content != before and SECRET.encode() in content


def _of_a_refusal(outcome: Outcome, before: dict[str, object], after: dict[str, object], says: tuple[str, ...]) -> list[str]:
    lines, message = [], outcome.err
    if before != after:
        names = sorted({n for n in before | after if before.get(n) != after.get(n)})
        lines.append(f"it refused and changed {names}")
    is_usage = "─ Error ─" in message  # typer's own
    if not (message.startswith("error: ") or is_usage):
        lines.append(f"no message: {message!r}")
    if message.count("error: ") != 1 and not is_usage:
        lines.append("not one message")
    lines += [f"a line of {len(line)} letters" for line in message.splitlines() if len(line) > LONGEST_LINE]
    if not (is_usage or WAYS_OUT.search(message)):
        lines.append(f"no rule and no way out: {message}")
    lines += [f"{word!r} is not in: {message}" for word in says if word not in " ".join(message.split())]
    return lines
