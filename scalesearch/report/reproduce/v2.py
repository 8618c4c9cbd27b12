"""The complexity table of EfficientNetV2 (Tan & Le 2021, arXiv:2104.00298v1) and of its released code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scalesearch.report.published import rows
from scalesearch.report.reproduce.charts import deviations_figure
from scalesearch.report.reproduce.conventions import norm_statistics
from scalesearch.report.reproduce.record import (
    EMPTY,
    Experiment,
    Pair,
    Row,
    Table,
    agreement,
    computed,
    deviation,
    exactness,
    label,
    published,
    signed,
)
from scalesearch.spec.arch import Arch
from scalesearch.spec.blocks import Stage
from scalesearch.spec.cost import cost
from scalesearch.spec.files import load_arch

_PAPER, _README, _TEST = (
    "paper v1 (2021-04-01)",
    "official repo README",
    "official unit test (params incl. BN moving stats)",
)
_VERSIONS = {_PAPER: "paper v1", _README: "README", _TEST: "unit test"}
# Version 1 of the paper, Table 4: the last stage and the head; the released V2-S has 256 and 1280.
_V1_STAGE, _V1_HEAD = 272, 1792


@dataclass(frozen=True, slots=True)
class _Found:
    printed: dict[str, str]
    arch: Arch

    @property
    def name(self) -> str:
        return self.printed["model"].replace("EfficientNetV2", "V2").replace("EfficientNet-", "")

    @property
    def version(self) -> str:
        return self.printed["version"]

    @property
    def params(self) -> Pair:
        return Pair(self.name, self.printed["params_M"], cost(self.arch).params, 1e6)

    @property
    def with_statistics(self) -> Pair:
        """The unit tests' counts; printed in M to the unit."""
        printed = str(round(float(self.printed["params_M"]) * 1e6))
        return Pair(self.name, printed, cost(self.arch).params + norm_statistics(self.arch))

    @property
    def flops(self) -> Pair:
        return Pair(self.name, self.printed["flops_B_multiply_adds"], cost(self.arch).flops, 1e9)


def efficientnetv2() -> Experiment:
    """Table 7 of version 1 of the paper, the README, and the unit tests, which count batch-norm statistics too."""
    found = [_Found(row, load_arch(_shipped(row["model"]))) for row in rows("efficientnetv2")]
    groups = {version: [each for each in found if each.version == version] for version in _VERSIONS}
    printed = [each for each in found if each.version != _TEST]
    first = next(each for each in groups[_PAPER] if each.name == "V2-S")
    early = _version1(first.arch)
    counted = cost(early)
    large = next(each for each in groups[_README] if each.name == "V2-L")
    notes = (
        exactness("Unit tests, with batch-norm statistics", [each.with_statistics for each in groups[_TEST]]),
        *(
            agreement(f"Parameters, {_VERSIONS[version]}", [each.params for each in groups[version]])
            for version in (_PAPER, _README)
        ),
        *(
            agreement(f"FLOPs, {_VERSIONS[version]}", [each.flops for each in groups[version]])
            for version in (_PAPER, _README)
        ),
        f"V2-S in version 1 of the paper is another network: its last stage has {_V1_STAGE} channels and its head "
        f"{_V1_HEAD}, which make {counted.params:,} parameters and {counted.flops:,} FLOPs at {early.resolution} px "
        f"({first.params.printed}M and {first.flops.printed}B are printed: the first rounds to it, the second is "
        f"{signed(replace(first.flops, exact=counted.flops).share)} % off); the released one has "
        f"{first.params.exact:,} and {first.flops.exact:,}.",
        f"The README's {large.printed['params_M']}M for V2-L is neither its {large.params.exact:,} trainable "
        f"parameters nor the {large.params.exact + norm_statistics(large.arch):,} with batch-norm statistics.",
    )
    drawn = {
        f"{kind}, {_VERSIONS[version]}": [getattr(each, key) for each in groups[version]]
        for version in (_PAPER, _README)
        for kind, key in (("params", "params"), ("FLOPs", "flops"))
    }
    return Experiment(
        "efficientnetv2",
        "EfficientNetV2, and the older networks of its table",
        (_printed_table(printed), _test_table(groups[_TEST])),
        notes,
        lambda: deviations_figure(drawn),
    )


def _shipped(model: str) -> str:
    return model.lower().replace("efficientnet-", "efficientnet_").replace("-", "_")


def _version1(arch: Arch) -> Arch:
    """V2-S as version 1 of the paper prints it."""
    stages = (*arch.stages[:-1], replace(arch.stages[-1], channels=_V1_STAGE))
    return replace(arch, stages=stages, head=Stage("conv", _V1_HEAD, kernel=1))


def _printed_table(found: Sequence[_Found]) -> Table:
    lines = []
    for each in found:
        lines.append(
            Row(
                (
                    label(each.printed["model"]),
                    label(_VERSIONS[each.version]),
                    published(str(each.arch.resolution)),
                    published(each.params.printed),
                    computed(int(each.params.exact)),
                    deviation(each.params),
                    published(each.flops.printed),
                    computed(int(each.flops.exact)),
                    deviation(each.flops) if each.flops.printed else EMPTY,
                    published(each.printed["imagenet_top1_pct"]),
                ),
                f"{each.printed['source']}; px: the released setting of that network",
            )
        )
    columns = {
        "model": "network",
        "printed_in": "printed in",
        "side_px": "px",
        "published_params_m": "params (M)",
        "params": "parameters",
        "params_deviation_percent": "printed / exact − 1 (%)",
        "published_flops_b": "FLOPs (B)",
        "flops": "FLOPs",
        "flops_deviation_percent": "printed / exact − 1 (%)",
        "top1_percent": "top-1 (%)",
    }
    return Table("efficientnetv2", "Printed and exact parameters and FLOPs", columns, tuple(lines))


def _test_table(found: Sequence[_Found]) -> Table:
    return Table(
        "efficientnetv2_unit_tests",
        "Parameters with batch-norm statistics, as the released code's unit tests have them",
        {
            "model": "network",
            "published_params_with_statistics": "unit test",
            "params_with_statistics": "exact",
            "statistics": "of these, statistics",
        },
        tuple(
            Row(
                (
                    label(each.printed["model"]),
                    published(each.with_statistics.printed, f"{int(each.with_statistics.printed):,}"),
                    computed(int(each.with_statistics.exact)),
                    computed(norm_statistics(each.arch)),
                ),
                each.printed["source"],
            )
            for each in found
        ),
    )
