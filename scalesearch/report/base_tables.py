"""The tables of a base search as DataFrames. Column names and their order are a promise; see docs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from scalesearch.report.tables import as_frame, trial_row
from scalesearch.search.base_run import BaseNetwork, BaseRun
from scalesearch.search.stats import mean_and_error


def base_trials_table(run: BaseRun) -> pd.DataFrame:
    """One row per training; `flops` and `params` are of the proxy, `base_flops` and `base_params` of its network."""
    columns = (
        "number digest seed status reason rung accuracy flops params seconds "
        "role resolution epochs reward images_per_second peak_memory_mb base_flops base_params"
    )
    rows = []
    for record in run.trials:
        more = {name: record.attributes[name] for name in ("base_flops", "base_params")}
        rows.append({**trial_row(record), "reward": record.score, **more})
    return as_frame(columns, rows)


def base_candidates_table(run: BaseRun) -> pd.DataFrame:
    """One row per network tried and one for the reference: winner, finalists and reference first, then by reward.

    `digest` is of the proxy, `flops` and `params` are of the network itself; `final_…` and `fresh_…` are means over the
    seeds of the final and of the confirmation.
    """
    columns = (
        "digest part flops params accuracy reward status final_reward final_seeds fresh_reward fresh_seeds "
        "accuracy_mean accuracy_se seeds pareto proxy_flops resolution network_digest point"
    )
    front = {one.digest for one in run.front}
    return as_frame(columns, [{**_row(one), "pareto": one.digest in front} for one in run.networks])


def _row(one: BaseNetwork) -> dict[str, Any]:
    mean, error = mean_and_error(list(one.accuracies.values())) if one.accuracies else (None, None)
    return {
        "digest": one.digest,
        "part": one.part,
        "flops": one.flops,
        "params": one.params,
        "accuracy": one.accuracy,
        "reward": one.reward,
        "status": one.status,
        "final_reward": mean_and_error(list(one.final.values()))[0] if one.final else None,
        "final_seeds": len(one.final),
        "fresh_reward": mean_and_error(list(one.fresh.values()))[0] if one.fresh else None,
        "fresh_seeds": len(one.fresh),
        "accuracy_mean": mean,
        "accuracy_se": error,
        "seeds": len(one.accuracies),
        "proxy_flops": one.proxy_flops,
        "resolution": one.arch.resolution,
        "network_digest": one.arch.digest,
        "point": spelled(one.choices),
    }


def spelled(choices: Mapping[str, Any]) -> str:
    """A point as `stages.1.kernel=3; stages.2=kind mbconv, expand 6`."""
    return "; ".join(f"{path}={_value(value)}" for path, value in choices.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {entry}" for key, entry in value.items())
    return value if isinstance(value, str) else json.dumps(value)
