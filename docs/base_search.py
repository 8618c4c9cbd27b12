"""Write docs/base_search.md and its figure: `python docs/base_search.py`. A test keeps the page equal to `page()`.

Every number on it comes from results/reference/benchmarks/base_search.json, which benchmarks/base_search.py writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scalesearch.spec.settings import DEFAULT_STRATEGY

DOCS = Path(__file__).resolve().parent
MEASURED = DOCS.parent / "results" / "reference" / "benchmarks" / "base_search.json"
FIGURE = DOCS / "base_search" / "curves"  # .svg and .png
SHOWN = (1, 10, 20, 40, 80, 160, 320)  # trainings
TITLE = "# Which strategy finds a base soonest"
NONE_YET = f"""{TITLE}

Nothing has been measured yet. The trainings are those of [experiments/base_space.toml](../experiments/base_space.toml);
then `python benchmarks/base_search.py --json {MEASURED.relative_to(DOCS.parent)}` and `python docs/base_search.py`.
"""


def page(measured: Path = MEASURED) -> str:
    if not measured.exists():
        return NONE_YET
    found = json.loads(measured.read_text(encoding="utf-8"))
    rows = found["rows"]
    about = rows[0]["details"]["about"]
    low, middle, high = (f"{100 * value:.2f}" for value in about["rewards"])
    lines = [
        TITLE,
        "",
        f"All {about['networks']} networks of a small space ({about['space']}, {about['target_flops'] / 1e6:g}M FLOPs "
        f"± {100 * about['flops_window']:g} %) were trained on {about['data']}, {about['trainings']} trainings of "
        f"{about['epochs']} epochs, so that any strategy can search it again and again without a training. Their "
        f"proxies have {about['proxy_flops'][0]:,} to {about['proxy_flops'][1]:,} FLOPs. Expected rewards go from "
        f"{low} over {middle} in the middle to {high} points; {about['close']:.3g} networks are within "
        f"{100 * about['distance']:g} of the best. {_noise(about)}",
        "",
        "## What was found",
        "",
        *[f"- {sentence}" for sentence in findings(rows)],
        "",
        f"![Best true reward against networks trained]({FIGURE.parent.name}/{FIGURE.name}.png)",
        "",
        f"Mean over {about['replays']} replays; shaded, the middle 90 % of random search's; the line is the best "
        "network's reward, the dots what counts as close to it.",
        "",
        "## Best true reward after so many trainings, in points",
        "",
        *curves(rows, about["limit"]),
        "",
        "## Trainings of random search over the strategy's",
        "",
        "Until a network close to the best has been tried in 90 % of the replays, with a 90 % bootstrap interval over "
        f"replays. What has not arrived after {about['limit']} trainings counts with these.",
        "",
        *ratios(rows),
        *noiseless(measured.with_name(f"{measured.stem}_noiseless.json")),
        "",
        "## How",
        "",
        f"`python benchmarks/base_search.py --json {MEASURED.relative_to(DOCS.parent)}` (and `--noiseless`, to "
        f"`{MEASURED.stem}_noiseless.json`), then `python docs/base_search.py`; {found['date']}, "
        f"{found['machine']['machine']}. Each strategy is the tool's own, asked for one network after the other. The "
        "searches that were recorded ended so: "
        f"{'; '.join(about['ended'])} (commit {', '.join(about['commits'])}). One space, one data set and proxies of a "
        "few seconds: what holds here need not hold in a space of 10¹⁷ networks.",
    ]
    return "\n".join(lines) + "\n"


def noiseless(measured: Path) -> list[str]:
    """What the strategies could do without noise: the same replays, told what networks are expected to give."""
    if not measured.exists():
        return []
    found = json.loads(measured.read_text(encoding="utf-8"))["rows"]
    return [
        "",
        "## If there were no noise",
        "",
        "The same replays, but that every training tells what its network is expected to give:",
        "",
        *[f"- {sentence}" for sentence in findings(found)],
        "",
        *ratios(found),
    ]


def findings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences whose verdicts are computed from the rows."""
    chance, rivals = rows[0], rows[1:]
    better = [row for row in rivals if row["low"] > 1]
    worse = [row for row in rivals if row["high"] < 1]
    same = [row for row in rivals if row not in better and row not in worse]
    said = []
    if better:
        said.append(f"Fewer trainings than random search: {_named(better)}.")
    else:
        said.append("No strategy needs fewer trainings than random search, at 90 %.")
    if same:
        said.append(f"Does not beat random search, as far as these replays can tell: {_named(same)}.")
    if worse:
        said.append(f"More trainings than random search: {_named(worse)}.")
    said += default_found(rows)
    exact = _ratio(chance)
    said.append(f"Random search needs {exact} times what its closed form says; 1 means that the replays are right.")
    return said


def default_found(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """How the default strategy stands against the others; nothing where it was not among them."""
    known = [row["details"] for row in rows]
    rivals = {own["strategy"]: own["default_over_this"] for own in known if "default_over_this" in own}
    if not rivals:
        return []
    better = [name for name, found in rivals.items() if found["low"] > 1]
    shown = ", ".join(f"{name} {_ratio(found)}" for name, found in rivals.items())
    who = "Other strategies need fewer" if better else "No other strategy is shown to need fewer"
    return [f"{who} trainings than the default, {DEFAULT_STRATEGY}. The default's trainings over theirs: {shown}."]


def curves(rows: Sequence[Mapping[str, Any]], limit: int) -> list[str]:
    shown = [number for number in SHOWN if number < limit] + [limit]
    lines = [
        f"| trainings | {' | '.join(map(str, shown))} |",
        "| --- " * (len(shown) + 1) + "|",
        _line("chance, exact", [f"{100 * rows[0]['details']['closed_form'][number - 1]:.2f}" for number in shown]),
    ]
    for row in rows:
        curve = row["details"]["curve"]
        cells = [tuple(100 * value for value in curve[number - 1]) for number in shown]
        lines.append(
            _line(row["details"]["strategy"], [f"{mean:.2f} ({low:.2f}–{high:.2f})" for mean, low, high in cells])
        )
    return lines


def ratios(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| strategy | arrives after | ratio | close in the end |", "| --- " * 4 + "|"]
    for number, row in enumerate(rows):
        own = row["details"]
        arrival = "–" if own["arrival"] is None else f"{own['arrival']:.0f}"
        ratio = _ratio(row) if number else ""
        lines.append(_line(own["strategy"], [arrival, ratio, f"{100 * own['arrived']:.0f} %"]))
    return lines


def _noise(about: Mapping[str, Any]) -> str:
    if about["told"] == "the recorded rewards":
        return "Each was trained once, so that every replay hears the same rewards."
    return (
        f"One training's noise is {100 * about['noise']:.2f} points. {about['seeds']} trainings of each network leave "
        "open what it is worth, so every replay draws a truth that they may come from, about a linear function of "
        "the choices, and fresh trainings under it; the numbers above are means over the replays."
    )


def _ratio(found: Mapping[str, Any]) -> str:
    return f"{found['ratio']:.2f} ({found['low']:.2f}–{found['high']:.2f})"


def _named(rows: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(
        f"{row['details']['strategy']} ({row['ratio']:.2f} times, {row['low']:.2f}–{row['high']:.2f})" for row in rows
    )


def _line(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    (DOCS / "base_search.md").write_text(page(), encoding="utf-8")
    if not MEASURED.exists():
        return
    from scalesearch.report.figures.base_strategies import draw_found, found_info
    from scalesearch.report.figures.style import render
    from scalesearch.report.files import write_bytes

    figure = draw_found(found_info(json.loads(MEASURED.read_text(encoding="utf-8"))["rows"]))
    for kind in ("svg", "png"):
        write_bytes(FIGURE.with_suffix(f".{kind}"), render(figure, kind))


if __name__ == "__main__":
    main()
