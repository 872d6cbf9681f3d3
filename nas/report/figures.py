"""The interactive figures of the report, as plain data for plotly.js; colours are names that the page's style sheet gives."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nas.report.axes import baseline_names, baseline_places, front_axes
from nas.results.columns import axis_label
from nas.results.families import family_lines
from nas.results.points import complete, labels, searched
from nas.results.standing import Standing, standing
from nas.results.trials import curves_by_row, stage_columns
from nas.run.settings.search import Search
from nas.space.costs import cost_kind, device_in, measured_as
from nas.space.mixers import MIXERS, in_short
from nas.units import count, duration, percent

MANY_POINTS = 1000  # points from which WebGL draws them
SHOWN_CURVES = 150
SHOWN_LINES = 1500
FEW_TRAININGS = 12
PALE_BELOW = 4  # trainings at which half of an effect's colour is left
LOOKS = [("--blue", "solid"), ("--orange", "dash"), ("--green", "dot"), ("--pink", "dashdot")]  # of runs, this one first
CLOCK = {"days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1}
SIDES = {"top": "top center", "bottom": "bottom center", "left": "middle left", "right": "middle right"}
Figure = dict[str, Any]


def _numbers(values: Any, digits: int = 4) -> list[float | None]:
    rounded = np.round(np.asarray(values, dtype=float), digits)
    return [None if np.isnan(v) else float(v) for v in rounded]


def front_figure(ranked: Standing, beside: Mapping[str, pd.DataFrame] = {}) -> Figure:
    """Every whole training, the front with its intervals, the baselines, and an empty ring for the trial that is marked.

    Of the trials of other runs, `beside` by name, the fronts are lines.
    """
    trials, best, cost, knee = ranked.trials, ranked.best, ranked.costs[0], ranked.knee
    done = complete(trials)
    baselines = done[done["baseline"].notna()]
    open_ = ranked.open[ranked.open["baseline"].isna()]
    others = done[done["baseline"].isna() & ~done.index.isin(best.index) & ~done.index.isin(open_.index)]
    kind = "scattergl" if len(done) > MANY_POINTS else "scatter"
    cloud = {**_dots(others, cost), "name": "searched", "type": kind, "marker": {"color": "--grey", "size": 6, "opacity": 0.7}}
    line = {"type": "scatter", "mode": "lines", "x": _costs(best, cost), "y": _numbers(100 * best["expected"]),
            "line": {"shape": "hv", "color": "--blue", "width": 2}, "hoverinfo": "skip", "showlegend": False}  # fmt: skip
    lucky = {**_dots(best, cost), "name": "as measured", "visible": ranked.is_lucky,
             "marker": {"symbol": "line-ew-open", "color": "--blue", "size": 9}}  # fmt: skip
    marks = {**_dots(best, cost, y="expected"), "name": "front", "marker": {"color": "--blue", "size": 10},
             "error_y": _bars(best)}  # fmt: skip
    tie = {**_dots(open_, cost), "name": "could be on it", "type": kind,
           "marker": {"symbol": "circle-open", "color": "--blue", "size": 7, "opacity": 0.8}}  # fmt: skip
    axes = front_axes(done, best, cost)
    named = _named(baselines, cost, baseline_places(baselines, cost, axes))
    bend = best.loc[[knee]] if knee is not None else best.iloc[:0]
    kink = {**_dots(bend, cost, y="expected"), "name": "knee", "marker": {"symbol": "star", "color": "--pink", "size": 16}}
    ring = {"type": "scatter", "mode": "markers", "x": [], "y": [], "name": "marked", "hoverinfo": "skip", "showlegend": False,
            "marker": {"symbol": "circle-open", "size": 20, "color": "--ink", "line": {"width": 3}}}  # fmt: skip
    figure = _figure(
        [cloud, *_families(baselines, cost), *_other_fronts(beside, cost), line, lucky, marks, tie, named, kink, ring],
        x=axis_label(cost),
        y="proxy accuracy (%)",
    )
    figure["layout"]["xaxis"]["tickformat"] = ".3~s" if cost_kind(cost).is_whole else "~r"  # 0.4G instead of 0.4B
    # fixed, or the ring around a marked point would move the axes and with them all points
    span = [float(np.log10(v)) for v in axes.x] if axes.logarithmic else list(axes.x)
    figure["layout"]["xaxis"] |= {"range": span, "type": "log" if axes.logarithmic else "linear"}
    if axes.logarithmic:
        figure["layout"]["xaxis"]["dtick"] = "D2"  # a label at 1, 2 and 5 of each decade
    figure["layout"]["yaxis"]["range"] = list(axes.y)
    return figure


def _other_fronts(beside: Mapping[str, pd.DataFrame], cost: str) -> list[Figure]:
    """A stepped line for the front of each other run, in the look of its hypervolume."""
    lines = []
    for (name, trials), (colour, dash) in zip(beside.items(), [*LOOKS[1:], LOOKS[0]] * len(beside), strict=False):
        if not trials.get(cost, pd.Series(dtype=float)).notna().any():
            continue  # such as a latency that was measured in one run alone
        best = standing(trials, (cost,)).best
        lines.append({"type": "scatter", "mode": "lines", "name": name, "x": _costs(best, cost),
                      "y": _numbers(100 * best["expected"]), "hoverinfo": "skip",
                      "line": {"shape": "hv", "color": colour, "dash": dash, "width": 1.5}})  # fmt: skip
    return lines


def front_figures(trials: pd.DataFrame, costs: Sequence[str], beside: Mapping[str, pd.DataFrame] = {}) -> dict[str, Figure]:
    """The same against each of other costs, by label; what a point says stands in the first figure of a page alone."""
    drawn = {axis_label(cost): front_figure(standing(trials, (cost,)), beside) for cost in costs}
    for figure in drawn.values():
        for trace in figure["data"]:
            if "customdata" in trace:
                del trace["hovertext" if "hovertext" in trace else "text"]
    return drawn


def _costs(rows: pd.DataFrame, cost: str) -> list[float | None]:
    return _numbers(rows[cost], 0 if cost_kind(cost).is_whole else 4)


def _named(baselines: pd.DataFrame, cost: str, sides: list[str]) -> Figure:
    """The baselines with their names at these sides."""
    return {**_dots(baselines, cost), "name": "baseline", "mode": "markers+text",
            "text": [_beside(name, side) for name, side in zip(baseline_names(baselines, cost), sides, strict=True)],
            "hovertext": _hover(baselines), "hovertemplate": "%{hovertext}<extra></extra>",
            "textposition": [SIDES[side] for side in sides],
            "textfont": {"color": "--orange", "size": 11},
            "marker": {"symbol": "diamond-open", "color": "--orange", "size": 12, "line": {"width": 2}}}  # fmt: skip


def _families(baselines: pd.DataFrame, cost: str) -> list[Figure]:
    """A dotted line through the members of each family."""
    look = {"line": {"dash": "dot", "color": "--orange", "width": 1.5}, "hoverinfo": "skip", "showlegend": False}
    return [
        {"type": "scatter", "mode": "lines", "x": _costs(row, cost), "y": _numbers(100 * row["accuracy"]), **look}
        for row in family_lines(baselines, cost)
    ]


def _beside(name: str, side: str) -> str:
    """A name with a gap towards its point, which plotly leaves none."""
    gap = "\u00a0" * 3
    return {"left": name + gap, "right": gap + name}.get(side, name)


def _dots(rows: pd.DataFrame, cost: str, y: str = "accuracy") -> Figure:
    return {"type": "scatter", "mode": "markers", "x": _costs(rows, cost), "y": _numbers(100 * rows[y]),
            "customdata": rows["trial"].tolist(), "text": _hover(rows), "hovertemplate": "%{text}<extra></extra>"}  # fmt: skip


def _hover(rows: pd.DataFrame) -> list[str]:
    """What a reader sees at a point: name, architecture, accuracy with its interval, costs."""
    columns = ("baseline", "stages", "accuracy", "expected", "accuracy_low", "accuracy_high", "macs", "params", "latency_ms")
    devices = on_devices_in_words(rows)
    return [
        f"<b>trial {name}</b>{f' · {base}' if isinstance(base, str) else ''}<br>{line}<br>{percent(accuracy)}"
        f"{'' if accuracy == expected else f', expected {percent(expected)}'}{_span(low, high)}"
        f"<br>{count(macs)} MACs · {count(params)} params{'' if np.isnan(latency) else f' · {latency:.1f} ms a batch'}{device}"
        for name, device, (base, line, accuracy, expected, low, high, macs, params, latency) in zip(
            labels(rows), devices, rows[list(columns)].itertuples(index=False), strict=True
        )
    ]


def on_devices_in_words(rows: pd.DataFrame) -> list[str]:
    """What is foretold of each network on each device, and what was measured."""
    words = [""] * len(rows)
    for cost in filter(device_in, rows.columns):
        pairs = zip(rows[cost], rows[measured_as(cost)], strict=True)
        texts = ("" if np.isnan(ms) else f" · {ms:.1f} ms {device_in(cost)}{_measured_too(own)}" for ms, own in pairs)
        words = [before + text for before, text in zip(words, texts, strict=True)]
    return words


def _measured_too(ms: float) -> str:
    return "" if np.isnan(ms) else f" (measured {ms:.1f})"


def _span(low: float, high: float) -> str:
    return "" if np.isnan(low) else f" ({100 * low:.1f} to {100 * high:.1f})"


def _bars(rows: pd.DataFrame) -> Figure:
    up, down = rows["accuracy_high"] - rows["expected"], rows["expected"] - rows["accuracy_low"]
    shown = bool(len(rows)) and bool(up.notna().all())
    return {"type": "data", "symmetric": False, "array": _numbers(100 * up), "arrayminus": _numbers(100 * down),
            "thickness": 1.2, "width": 3, "color": "--blue", "visible": shown}  # fmt: skip


def course_figure(courses: dict[str, pd.DataFrame], by: str) -> Figure:
    """Hypervolume against trainings or summed seconds of training, one step line a run."""
    longest = max((c["seconds"].iloc[-1] for c in courses.values() if len(c)), default=0.0)
    unit, size = next((u, n) for u, n in CLOCK.items() if longest >= 2 * n or n == 1)
    data = []
    for (name, course), (colour, dash) in zip(courses.items(), LOOKS * len(courses), strict=False):
        kept = _corners(course)
        x = kept[by] / size if by == "seconds" else kept[by]
        text = [duration(s) for s in kept["seconds"]]
        data.append({"type": "scatter", "mode": "lines", "name": name, "x": _numbers(x), "y": _numbers(kept["hypervolume"], 5),
                     "line": {"shape": "hv", "color": colour, "dash": dash, "width": 2}, "text": text,
                     "hovertemplate": "%{y:.4f} after %{text}<extra>" + name + "</extra>"})  # fmt: skip
    figure = _figure(data, x=f"{unit} of training, summed" if by == "seconds" else "trainings ended", y="hypervolume")
    if by != "seconds" and max(map(len, courses.values()), default=0) < FEW_TRAININGS:
        figure["layout"]["xaxis"]["dtick"] = 1  # no half trainings
    return figure


def _corners(course: pd.DataFrame) -> pd.DataFrame:
    """The rows at which the hypervolume changes, the first and the last."""
    changed = course["hypervolume"].diff().fillna(1) > 0
    return course[changed | (course.index == course.index[-1:].max())]


def curves_figure(trials: pd.DataFrame, best: pd.DataFrame) -> Figure:
    """Accuracy by epoch: the front and the baselines by name, an even sample of the rest behind."""
    rest = trials[~trials.index.isin(best.index) & trials["baseline"].isna() & (trials["curve"] != "[]")]
    rest = rest.iloc[np.unique(np.linspace(0, len(rest) - 1, min(SHOWN_CURVES, len(rest))).astype(int))]
    behind: dict[str, list] = {"x": [], "y": []}
    for curve in curves_by_row(rest).values():
        behind["x"] += [*(e["epoch"] for e in curve), None]
        behind["y"] += [*(round(100 * e["accuracy"], 2) for e in curve), None]
    data = [{"type": "scatter", "mode": "lines", **behind, "name": "others", "opacity": 0.45, "hoverinfo": "skip",
             "line": {"color": "--grey", "width": 1}}]  # fmt: skip
    named = pd.concat([best, trials[trials["baseline"].notna() & ~trials.index.isin(best.index)]])
    for i, curve in curves_by_row(named).items():
        row = named.loc[i]
        colour = "--orange" if isinstance(row["baseline"], str) else "--blue"
        name = row["baseline"] if isinstance(row["baseline"], str) else f"trial {row['trial']}"
        data.append({"type": "scatter", "mode": "lines+markers", "name": name, "showlegend": False,
                     "x": [e["epoch"] for e in curve], "y": [round(100 * e["accuracy"], 2) for e in curve],
                     "line": {"color": colour, "width": 2}, "marker": {"size": 5},
                     "hovertemplate": name + ": %{y:.1f} % after epoch %{x}<extra></extra>"})  # fmt: skip
    kinds = {"front": "--blue", **({"baseline": "--orange"} if named["baseline"].notna().any() else {})}
    data += [{"type": "scatter", "mode": "lines", "name": kind, "x": [None], "y": [None], "line": {"color": colour, "width": 2}}
             for kind, colour in kinds.items()]  # fmt: skip
    return _figure(data, x="epoch", y="accuracy (%)")


def importance_figure(importances: pd.DataFrame) -> Figure:
    """A bar an axis, and how far chance alone would bring the largest of them."""
    top = importances.head(15).iloc[::-1]
    bars = {"type": "bar", "orientation": "h", "y": list(top["axis"]), "x": _numbers(100 * top["share"], 2), "name": "share",
            "marker": {"color": "--blue"}, "hovertemplate": "%{y}: %{x:.1f} %<extra></extra>"}  # fmt: skip
    chance = {"type": "scatter", "mode": "lines", "y": list(top["axis"]), "x": _numbers(100 * top["chance"], 2),
              "name": "the largest by chance (95 %)", "line": {"color": "--orange", "width": 2, "dash": "dash"},
              "hovertemplate": "by chance up to %{x:.1f} %<extra></extra>"}  # fmt: skip
    figure = _figure([bars, chance], x="share of what makes the best quarter at equal MACs (%)", y="")
    figure["layout"]["height"] = 120 + 24 * len(top)
    figure["layout"]["yaxis"]["automargin"] = True
    figure["layout"]["xaxis"]["range"] = [0, round(105 * float(importances[["share", "chance"]].max(axis=None)), 2)]
    return figure


def mixer_figure(effects: pd.DataFrame) -> Figure:
    """A heat map of the points of accuracy above equal MACs, by mixer and stage; what few trainings say is pale."""
    paled = effects.assign(shown=effects["effect"] * effects["trials"] / (effects["trials"] + PALE_BELOW))
    grid = paled.pivot(index="mixer", columns="stage", values="shown")
    cells = effects.set_index(["mixer", "stage"])
    text = [[_cell(cells, mixer, stage) for stage in grid.columns] for mixer in grid.index]
    most = float(np.nanmax(np.abs(100 * grid.to_numpy()))) if len(grid) else 1.0
    data = {"type": "heatmap", "x": [f"stage {s}" for s in grid.columns], "y": list(grid.index), "text": text,
            "z": [_numbers(row, 3) for row in 100 * grid.to_numpy()], "zmin": -most, "zmax": most, "texttemplate": "%{text}",
            "textfont": {"color": "--cell"},
            "colorscale": [[0, "--low"], [0.5, "--middle"], [1, "--high"]], "xgap": 2, "ygap": 2,
            "hovertemplate": "%{y} in %{x}: %{text}<extra></extra>", "showscale": False}  # fmt: skip
    figure = _figure([data], x="", y="")
    figure["layout"]["height"] = 140 + 44 * len(grid)
    return figure


def _cell(cells: pd.DataFrame, mixer: str, stage: int) -> str:
    if (mixer, stage) not in cells.index:
        return ""
    row = cells.loc[(mixer, stage)]
    return f"{100 * row['effect']:+.1f}<br>n = {row['trials']:.0f}"


def pattern_figure(best: pd.DataFrame) -> Figure:
    """Which mixer each network of the front has in each stage, cheapest first; a letter beside the colour."""
    depths = stage_columns(best, "depth")
    columns = {stage: c for stage, c in sorted(stage_columns(best, "mixer").items()) if best[c].notna().any()}
    mixers = [m for m in MIXERS if (best[list(columns.values())] == m).any().any()]
    z = [[mixers.index(m) if m in mixers else None for m in best[c]] for c in columns.values()]
    text = [[in_short(m, d) for m, d in zip(best[c], best[depths[stage]], strict=True)] for stage, c in columns.items()]
    steps = [[(i + e) / max(len(mixers), 1), f"--mixer-{m}"] for i, m in enumerate(mixers) for e in (0, 1)]
    names = [f"{name} · {count(macs)}" for name, macs in zip(labels(best), best["macs"], strict=True)]
    data = {"type": "heatmap", "x": names, "y": [f"stage {stage}" for stage in columns], "z": z, "text": text, "zmin": -0.5,
            "zmax": len(mixers) - 0.5, "colorscale": steps, "texttemplate": "%{text}" if len(best) <= 40 else "",
            "textfont": {"color": "--cell"},
            "xgap": 2, "ygap": 2, "hovertemplate": "%{x}<br>%{y}: %{text}<extra></extra>",
            "colorbar": {"tickvals": list(range(len(mixers))), "ticktext": mixers}}  # fmt: skip
    figure = _figure([data], x="trial and MACs", y="")
    figure["layout"]["yaxis"]["autorange"] = "reversed"
    figure["layout"]["xaxis"]["type"] = "category"
    figure["layout"]["height"] = 180 + 44 * len(columns)
    return figure


def parallel_figure(trials: pd.DataFrame, best: pd.DataFrame, search: Search) -> Figure:
    """Mixer, depth and width of each stage beside MACs and accuracy, one line a whole training, an even sample of many."""
    done = searched(trials)
    kept = done.iloc[np.unique(np.linspace(0, len(done) - 1, min(SHOWN_LINES, len(done))).astype(int))]
    rows = pd.concat([kept, best[~best.index.isin(kept.index) & best["baseline"].isna()]]).sort_values("accuracy")
    axes = [a for a in search.space.axes if a.endswith((".mixer", ".depth", ".width"))]
    dimensions = [_dimension(rows, axis, search) for axis in axes if axis.replace(".", "_") in rows]
    dimensions += [
        {"label": "MACs (G)", "values": _numbers(rows["macs"] / 1e9)},
        {"label": "accuracy (%)", "values": _numbers(100 * rows["accuracy"], 2)},
    ]
    data = {"type": "parcoords", "dimensions": dimensions, "labelangle": -20, "labelfont": {"size": 11},
            "line": {"color": _numbers(100 * rows["accuracy"], 2), "colorscale": [[0, "--grey"], [1, "--blue"]]}}  # fmt: skip
    figure = _figure([data], x="", y="")
    figure["layout"] |= {"height": 420, "margin": {"l": 60, "r": 50, "t": 70, "b": 20}}
    return figure


def _dimension(rows: pd.DataFrame, axis: str, search: Search) -> Figure:
    options, column = list(search.space.axes[axis]), rows[axis.replace(".", "_")]
    label = axis.replace("stage", "").replace(".", " ")
    if all(isinstance(o, int | float) for o in options):
        return {"label": label, "values": _numbers(column), "range": [min(options), max(options)], "tickvals": options}
    places = {o: i for i, o in enumerate(options)}
    return {"label": label, "values": [places.get(v) for v in column], "tickvals": list(places.values()), "ticktext": options}


def _figure(data: list[Figure], *, x: str, y: str) -> Figure:
    return {"data": data, "layout": {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}}
