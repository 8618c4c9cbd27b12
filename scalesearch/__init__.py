"""scalesearch: from a dataset, a base network and a FLOPs budget to scaling coefficients and a family.

The whole public surface. What needs torch is imported on first use.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalesearch.spec.arch import Arch as Arch
from scalesearch.spec.arch import Stage as Stage
from scalesearch.spec.cost import Cost as Cost
from scalesearch.spec.cost import cost as cost
from scalesearch.spec.errors import ScaleSearchError as ScaleSearchError
from scalesearch.spec.factory import FactoryArch as FactoryArch
from scalesearch.spec.files import load_arch as load_arch
from scalesearch.spec.files import load_space as load_space
from scalesearch.spec.scaling import Coefficients as Coefficients
from scalesearch.spec.scaling import Multipliers as Multipliers
from scalesearch.spec.scaling import multiply as multiply
from scalesearch.spec.scaling import scale as scale
from scalesearch.spec.settings import Settings as Settings
from scalesearch.spec.settings import make_settings as make_settings
from scalesearch.spec.solving import to_flops as to_flops

if TYPE_CHECKING:
    from scalesearch.nets.build import Module
    from scalesearch.search.base_run import BaseRun as BaseRun
    from scalesearch.search.run import Run as Run
    from scalesearch.spec.factory import AnyArch

__version__ = "0.1.0"


def build(arch: AnyArch) -> Module:
    """The network of `arch` as a torch module: images (N, in_channels, side, side) to logits (N, classes)."""
    from scalesearch.nets.build import build

    return build(arch)


def open_factory(factory: str) -> FactoryArch:
    """The base of a factory of yours, `package.module:function`. Runs its code, and checks what it makes.

    `cost`, `scale`, `to_flops` and `build` take the record. Raises ScaleSearchError's kinds for a faulty factory.
    """
    from scalesearch.nets.probe import open_factory

    return open_factory(factory)


def run(settings: Settings, out: Path | str | None = None, resume: bool = False) -> Run | BaseRun:
    """Do what `scalesearch run` does, without printing, and return the run; with `only="base"`, the base's search.

    `out` is its folder, by default one under results/ named after the settings; an interrupted run there is
    continued. Raises ScaleSearchError's kinds as the command does.
    """
    from scalesearch.report.base_page import write_base_report
    from scalesearch.report.write import write_report
    from scalesearch.search import base_pipeline
    from scalesearch.search.base_run import BaseRun
    from scalesearch.search.folder import default_folder

    folder = default_folder(settings, Path("results")) if out is None else Path(out)
    result = base_pipeline.run(settings, folder, resume=resume, found=write_base_report)
    if not isinstance(result, BaseRun):
        write_report(result)
    return result


def __getattr__(name: str) -> Any:
    if name == "Run":
        from scalesearch.search.run import Run

        return Run
    if name == "BaseRun":
        from scalesearch.search.base_run import BaseRun

        return BaseRun
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
