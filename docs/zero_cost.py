"""Write docs/zero_cost.md: `python docs/zero_cost.py`. A test keeps the page equal to `page()`.

Every number on it comes from results/reference/scalebench/zero_cost.json, as benchmarks/zero_cost.py wrote it there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
MEASURED = DOCS.parent / "results" / "reference" / "scalebench" / "zero_cost.json"
FREE = ("params", "flops", "activations", "resolution")
NAMES = {
    "synflow": "synflow",
    "naswot": "NASWOT",
    "grad_norm": "gradient norm",
    "snip": "SNIP",
    "zen": "Zen-score",
    "params": "parameters",
    "flops": "FLOPs",
    "activations": "activations",
    "resolution": "input side",
}
EXPLAINED = {  # what each is; what it measured is in the tables
    "synflow": "The flow of ones through the absolute weights, from the input to the logits (Tanaka et al. 2020), "
    "logarithm.",
    "naswot": "How differently the images of a batch switch the units on and off (Mellor et al. 2021).",
    "grad_norm": "The size of the first gradient (Abdelfattah et al. 2021), summed over layers.",
    "snip": "How much the first step would change the loss through each weight (Lee et al. 2019): the gradient times "
    "the weight.",
    "zen": "How far a small change of a Gaussian image moves the last map (Lin et al. 2021), with what the norms "
    "divide by multiplied back.",
    "params": "A baseline: the number of weights, which the side of the image does not enter.",
    "flops": "A baseline that equal FLOPs take away: what remains is what rounding leaves.",
    "activations": "Output elements of all layers, as `scalesearch cost` prints them; free, and no score of a paper.",
    "resolution": "The side of the image in px; free as well.",
}


def page() -> str:
    found = json.loads(MEASURED.read_text(encoding="utf-8"))
    about, table = found["about"], found["table"]
    low, high = table["accuracy"]
    seeds = sorted({len(network["accuracies"]) for network in found["networks"]})
    flops = [network["scores"]["flops"][0] for network in found["networks"]]
    apart = max(flops) / min(flops) - 1
    each = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    lines = [
        "# Zero-cost scores at equal FLOPs",
        "",
        "Scores that judge a network before it is trained can look good where networks differ in size, if they grow "
        "with it. Among scalings of one base to the same FLOPs that help is gone. This page shows what is left: each "
        f"score of {table['networks']} networks of ScaleBench, whose FLOPs differ by at most {100 * apart:.1f} %, "
        f"against the accuracy after {about['epochs']} epochs of training ({each} seed"
        f"{'s' if seeds[-1] > 1 else ''} each, {table['trainings']} "
        f"trainings; mean accuracies from {100 * low:.1f} to {100 * high:.1f} %).",
        "",
        *(
            []
            if about["finished"]
            else ["**Preliminary: the trainings had not all finished when this was written.**", ""]
        ),
        "## What was found",
        "",
        *[f"- {sentence}" for sentence in findings(table)],
        "",
        "## Ranks",
        "",
        "τ_b is Kendall's, 1 for the same order, −1 for the reverse, with a 90 % bootstrap interval over networks. "
        "*Given parameters*: the same with parameters held fixed (partial, by Greiner's relation). *Over*: τ_b less "
        "the absolute τ_b of a baseline, which one may turn round. *Repeatable*: mean τ_b between two initialisations. "
        "*Best in upper half*: the probability that training only the score's upper half keeps the best network; a "
        "coin gives 0.50. *Lost*: the expected accuracy lost by that, in points. *To keep*: the share of networks, "
        "from the top, that holds the best with 90 %.",
        "",
        *ranks(table["rows"]),
        "",
        "## What a score measures at equal FLOPs",
        "",
        "τ_b of each score with the shares of the doubling that went to depth, width and resolution.",
        "",
        *measures(table),
        "",
        "## The scores",
        "",
        *[f"- **{NAMES[name]}** {EXPLAINED[name]}" for name in NAMES],
        "",
        "Formulas, sources and what differs from them: the docstrings of `scalesearch/fit/zero_cost.py`.",
        "",
        "## How",
        "",
        f"`python benchmarks/zero_cost.py {about['source']} --json {MEASURED.relative_to(DOCS.parent)}`, then "
        f"`python docs/zero_cost.py`. {about['images']} training images, the same for all; median of "
        f"{about['initialisations']} official initialisations. {about['date']}, {about['machine']}, torch "
        f"{about['packages']['torch']}; data fingerprint {about['data_fingerprint'][:12]}; the trainings by commit "
        f"{(about['source_commit'] or 'unknown')[:12]}.",
    ]
    return "\n".join(lines) + "\n"


def findings(table: Mapping[str, Any]) -> list[str]:
    """Sentences whose verdicts are computed from the rows."""
    rows = {row["score"]: row for row in table["rows"]}
    scores = [name for name in rows if name not in FREE]
    beat = [name for name in scores if all(rows[name]["over"][other]["low"] > 0 for other in ("params", "flops"))]
    for_sure = [name for name in scores if rows[name]["tau"]["low"] > 0]
    reverse = [name for name in scores if rows[name]["tau"]["high"] < 0]
    params = rows["params"]["tau"]
    said = []
    if beat:
        said.append(f"{_list(beat)} beat{_s(beat)} both baselines, parameters and FLOPs, at 90 %.")
    else:
        said.append("No score beats both baselines, parameters and FLOPs, at 90 %.")
    if for_sure:
        said.append(f"{_list(for_sure)} rank{_s(for_sure)} better than chance at 90 %.")
    if reverse:
        said.append(f"{_list(reverse)} rank{_s(reverse)} the wrong way round at 90 %: the better the score, the worse.")
    if not for_sure and not reverse:
        said.append("No score's interval leaves out 0: none can be told from chance.")
    said.append(
        f"Parameters have τ_b {_tau(params)}: at equal FLOPs, more parameters "
        + ("mean less accuracy." if params["high"] < 0 else "mean more." if params["low"] > 0 else "say little.")
    )
    keep = [name for name in scores if rows[name]["upper_half"] >= 0.9]
    said.append(
        f"Half of the networks could be left out by {_list(keep)} with 90 % or more to keep the best."
        if keep
        else "By no score could half of the networks be left out with 90 % to keep the best."
    )
    free = max(("activations", "resolution"), key=lambda name: rows[name]["tau"]["value"])
    best = max(scores, key=lambda name: rows[name]["tau"]["value"])
    said.append(
        f"What costs nothing: {NAMES[free]} {_tau(rows[free]['tau'])}; the best score: {NAMES[best]} "
        f"{_tau(rows[best]['tau'])}."
    )
    strong = max(scores, key=lambda name: abs(rows[name]["tau"]["value"]))
    said.append(
        f"Turned round where that helps, the strongest score is {NAMES[strong]} with {_size(rows[strong])}, beside "
        f"parameters with {_size(rows['params'])} and the input side with {_size(rows['resolution'])}."
    )
    if table["ceiling"] is None:
        said.append("With one seed each, the noise of a training is not known, nor what a perfect score would reach.")
    else:
        said.append(
            f"One training's noise is {100 * table['noise']:.2f} points, so that the true accuracies themselves would "
            f"reach a τ_b of about {table['ceiling']:.2f} with the measured ones."
        )
    return said


def ranks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    head = "score|τ_b|given parameters|over parameters|over FLOPs|repeatable|best in upper half|lost|to keep"
    lines = [f"| {head.replace('|', ' | ')} |", "| --- " * (head.count("|") + 1) + "|"]
    for row in rows:
        repeatable = "" if row["repeatable"] is None or row["score"] in FREE else f"{row['repeatable']:.2f}"
        given = "" if row["score"] == "params" else _tau(row["partial"])
        cells = [
            NAMES[row["score"]],
            _tau(row["tau"]),
            given,
            *("" if row["score"] == other else _tau(row["over"][other]) for other in ("params", "flops")),
            repeatable,
            f"{row['upper_half']:.2f}",
            f"{100 * row['loss']:.2f}",
            f"{100 * row['needed']:.0f} %",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def measures(table: Mapping[str, Any]) -> list[str]:
    lines = ["| score | depth | width | resolution |", "| --- | --- | --- | --- |"]
    for name, shares in [
        *((NAMES[row["score"]], row["shares"]) for row in table["rows"]),
        ("*accuracy*", table["accuracy_shares"]),
    ]:
        lines.append(f"| {name} | {' | '.join(_signed(shares[key]) for key in ('depth', 'width', 'resolution'))} |")
    return lines


def _tau(estimate: Mapping[str, float]) -> str:
    return f"{_signed(estimate['value'])} [{_signed(estimate['low'])}, {_signed(estimate['high'])}]"


def _size(row: Mapping[str, Any]) -> str:
    return f"{abs(row['tau']['value']):.2f}"


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−").replace("−0.00", "0.00")


def _list(names: Sequence[str]) -> str:
    shown = [NAMES[name] for name in names]
    text = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
    return text[0].upper() + text[1:]


def _s(names: Sequence[str]) -> str:
    return "s" if len(names) == 1 else ""


def main() -> None:
    (DOCS / "zero_cost.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
