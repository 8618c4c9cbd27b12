"""ImageNet top-1 error of scaled EfficientNet-B0s, as a surface fitted to published results. Trains nothing.

The points are Dollár et al. 2021 (arXiv:2103.06877), figures 1, 4, 6 and 8: B0 scaled in many ways, each trained for
200 epochs with one recipe (the figures' values are those of the 2× columns of tables 5 and 8). A network's place is
(depth, width, resolution): how many doublings of B0's FLOPs each dimension alone brings (`dimension_logs`). The error
above a floor is the exponential of a quadratic in the place.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull

from scalesearch.spec.arch import Arch, Stage
from scalesearch.spec.dimensions import dimension_logs
from scalesearch.spec.errors import SurrogateError
from scalesearch.spec.factory import AnyArch, FactoryArch
from scalesearch.spec.files import load_arch

BASE = "efficientnet_b0"
POINTS_FILE = Path(__file__).with_name("imagenet_points.csv")
REPLICATES = 400
FLOORS = (0.0, 5.0, 10.0, 14.0)  # % error; the best network known here has 16.67
# Of one published value, in points: the seeds' standard deviation in the 2× columns of tables 5 and 8 (root mean
# square of the EfficientNet rows), and what reading a figure adds.
SEED_NOISE, READING_NOISE = 0.087, 0.01
MARGIN = 0.02  # doublings beyond the hull that still count as inside: 1.4 % of the FLOPs
CHOSEN = ("quadratic", 10.0)  # of FAMILIES × FLOORS: the smallest leave-one-out error (a test holds this)

Place = tuple[float, float, float]
Matrix = npt.NDArray[np.float64]  # rows are places or replicates
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Point:
    """A published network. `error` is its top-1 error in %, the mean of the distinct `values` the figures show."""

    strategy: str  # base, d, w, r, dw, dwr, 2/3, dWr (Dollár et al.) or original (Tan & Le's multipliers)
    arch: Arch
    place: Place
    error: float
    values: tuple[float, ...]


@cache
def _base() -> Arch:
    return load_arch(BASE)


@cache
def published_points() -> tuple[Point, ...]:
    """The networks that the surface is fitted to, by rising FLOPs."""
    base = _base()
    points = []
    with POINTS_FILE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            stem, *channels, head = map(int, row["channels"].split())
            repeats = map(int, row["repeats"].split())
            stages = tuple(
                replace(stage, channels=width, repeats=depth)
                for stage, width, depth in zip(base.stages, channels, repeats, strict=True)
            )
            assert base.head is not None  # B0 has one
            arch = replace(
                base,
                name=f"{BASE}-{row['strategy']}",
                resolution=int(row["resolution"]),
                stem=replace(base.stem, channels=stem),
                stages=stages,
                head=replace(base.head, channels=head),
            )
            values = tuple(float(value) for value in row["values_read"].split())
            error = float(row["top1_error_pct"])
            points.append(Point(row["strategy"], arch, dimension_logs(base, arch), error, values))
    return tuple(points)


@lru_cache(4096)
def place_of(arch: AnyArch) -> Place:
    """Doublings of depth, width and resolution. Raises SurrogateError unless `arch` is B0 but for its sizes."""
    base = _base()
    if (fault := _difference(base, arch)) is not None:
        raise SurrogateError(
            f"{arch.name}: {fault}; imagenet_surrogate knows only networks that differ from {BASE} in repeats, "
            f"channels and side; use --base {BASE}, or --evaluator train"
        )
    return dimension_logs(base, arch)


def _difference(base: Arch, arch: AnyArch) -> str | None:
    """What makes `arch` no scaled B0; dropout and the like belong to the recipe."""
    if isinstance(arch, FactoryArch):
        return "is made by a factory"
    if len(arch.stages) != len(base.stages) or arch.head is None or base.head is None:
        return f"has {len(arch.stages)} stages{'' if arch.head else ' and no head'}, B0 has {len(base.stages)} and one"
    pairs = {f"stage{n}": pair for n, pair in enumerate(zip(base.stages, arch.stages, strict=True), start=1)}
    for name, (own, other) in {"stem": (base.stem, arch.stem), **pairs, "head": (base.head, arch.head)}.items():
        if (found := _sizeless(other)) != (asked := _sizeless(own)):
            return f"its {name} is {_spelled(found, asked)}, B0's is {_spelled(asked, found)}"
    for key in ("classes", "in_channels", "activation"):
        if getattr(arch, key) != getattr(base, key):
            return f"has {key} = {getattr(arch, key)}, B0 has {getattr(base, key)}"
    return None


def _sizeless(stage: Stage) -> dict[str, object]:
    return {key: getattr(stage, key) for key in type(stage).__dataclass_fields__ if key not in ("channels", "repeats")}


def _spelled(stage: dict[str, object], other: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in stage.items() if other.get(key) != value)


# A family turns places (n, 3) into the columns of a linear model of log(error − floor).
FAMILIES: Mapping[str, Callable[[Matrix], Matrix]] = {
    "linear": lambda x: np.column_stack([np.ones(len(x)), x]),
    "linear + total²": lambda x: np.column_stack([np.ones(len(x)), x, x.sum(1) ** 2]),
    "additive": lambda x: np.column_stack([np.ones(len(x)), x, x**2]),
    "additive + total²": lambda x: np.column_stack([np.ones(len(x)), x, x**2, x.sum(1) ** 2]),
    "quadratic": lambda x: np.column_stack(
        [np.ones(len(x)), x, *(x[:, i] * x[:, j] for i in range(3) for j in range(i, 3))]
    ),
    "quadratic + total³": lambda x: np.column_stack([FAMILIES["quadratic"](x), x.sum(1) ** 3]),
}


def fit_weights(columns: Matrix, errors: Vector, floor: float) -> Vector:
    """Least squares of log(error − floor), weighted so that to first order it is least squares of the error."""
    above = errors - floor
    return np.asarray(np.linalg.lstsq(columns * above[:, None], np.log(above) * above, rcond=None)[0])


def leave_one_out(places: Matrix, errors: Vector, family: str, floor: float) -> Vector:
    """Predicted minus published error of each point by a fit to all the others, in points."""
    columns = FAMILIES[family](places)
    missed = []
    for index in range(len(errors)):
        kept = np.arange(len(errors)) != index
        weights = fit_weights(columns[kept], errors[kept], floor)
        missed.append(floor + math.exp(float(columns[index] @ weights)) - errors[index])
    return np.array(missed)


def root_mean_square(values: Sequence[float] | Vector) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


@dataclass(frozen=True)
class Surrogate:
    """A fitted surface: weights of the chosen family, and of each bootstrap replicate with its own floor.

    `deviation` is the residuals' standard deviation (degrees of freedom allowed for), `loo` the leave-one-out error's
    root mean square, both in points of error.
    """

    family: str
    floor: float
    weights: Vector
    replicate_floors: Vector
    replicate_weights: Matrix
    facets: Matrix  # a place x is inside where facets[:, :3] @ x + facets[:, 3] <= 0
    largest: float  # doublings of FLOPs of the largest point
    points: int
    deviation: float
    loo: float

    def outside_by(self, places: Matrix) -> Vector:
        """How many doublings each place lies outside the hull of the points; at most 0 inside."""
        return np.asarray((places @ self.facets[:, :3].T + self.facets[:, 3]).max(axis=1))

    def inside(self, places: Matrix) -> npt.NDArray[np.bool_]:
        return np.asarray(self.outside_by(places) <= MARGIN)

    def errors(self, places: Matrix) -> Vector:
        """Top-1 error in % at each place, inside the hull or not: the caller asks `inside`."""
        return np.asarray(self.floor + np.exp(FAMILIES[self.family](places) @ self.weights))

    def replicates(self, places: Matrix) -> Matrix:
        """The same by every bootstrap replicate: (replicates, places)."""
        logs = self.replicate_weights @ FAMILIES[self.family](places).T
        return np.asarray(self.replicate_floors[:, None] + np.exp(logs))

    def at_budget(self, place: Place, doublings: float) -> float:
        """Error in % at the place moved along its own split by some doublings of FLOPs."""
        moved = np.array([place]) * (1 + doublings / max(sum(place), 1e-9))
        return float(self.errors(moved)[0])

    def predict(self, arch: AnyArch) -> tuple[float, Vector]:
        """Expected top-1 error of `arch` in %, and the replicates of it.

        Raises SurrogateError for what is no scaled B0, and for a network outside the hull of the points.
        """
        place = place_of(arch)
        row = np.array([place])
        if not self.inside(row)[0]:
            depth, width, resolution = place
            raise SurrogateError(
                f"{arch.name}: depth, width and resolution bring {depth:.2f}, {width:.2f} and {resolution:.2f} "
                f"doublings of FLOPs; imagenet_surrogate answers only inside the hull of its {self.points} published "
                f"networks (up to {self.largest:.1f} doublings), and this is {self.outside_by(row)[0]:.2f} "
                f"outside; {_advice(place)}, or use --evaluator train"
            )
        return float(self.errors(row)[0]), self.replicates(row)[:, 0]


def _advice(place: Place) -> str:
    if sum(place) < MARGIN:
        return "ask for a network no smaller than B0 (--target-flops 400M)"
    return "ask for a smaller network or a more even split"


def fit(
    places: Matrix, errors: Vector, family: str = CHOSEN[0], floor: float = CHOSEN[1], replicates: int = REPLICATES
) -> Surrogate:
    """Fit a surface to places (doublings) and errors (%), with a residual bootstrap.

    Residuals and not cases: the points are a chosen design, and a sample without its corners would extrapolate.
    They are widened by their leverage, and to the published seed noise if they are smaller than it. Every replicate
    chooses its floor again, by leave-one-out: the data hardly tell one from another.
    """
    columns = FAMILIES[family](places)
    weights = fit_weights(columns, errors, floor)
    fitted = floor + np.exp(columns @ weights)
    raw = errors - fitted
    deviation = math.sqrt(float(raw @ raw) / (len(errors) - columns.shape[1]))
    widened = raw / np.sqrt(1 - _leverage(columns, errors, floor))
    widened = widened - widened.mean()
    widened = widened * max(1.0, math.hypot(SEED_NOISE, READING_NOISE) / max(float(widened.std()), 1e-12))
    rng = np.random.default_rng(0)
    found = [_refit(columns, fitted + rng.choice(widened, len(errors)), floors=FLOORS) for _ in range(replicates)]
    hull = ConvexHull(places)
    return Surrogate(
        family=family,
        floor=floor,
        weights=weights,
        replicate_floors=np.array([entry[0] for entry in found]),
        replicate_weights=np.array([entry[1] for entry in found]),
        facets=hull.equations,
        largest=float(places.sum(axis=1).max()),
        points=len(errors),
        deviation=deviation,
        loo=root_mean_square(leave_one_out(places, errors, family, floor)),
    )


def _leverage(columns: Matrix, errors: Vector, floor: float) -> Vector:
    return np.asarray((np.linalg.qr(columns * (errors - floor)[:, None])[0] ** 2).sum(axis=1))


def _refit(columns: Matrix, errors: Vector, floors: Sequence[float]) -> tuple[float, Vector]:
    """The floor of the smallest leave-one-out error, in closed form (residual over 1 − leverage), and its weights."""
    best: tuple[float, float, Vector] | None = None
    for floor in floors:
        weights = fit_weights(columns, errors, floor)
        missed = (errors - floor - np.exp(columns @ weights)) / (1 - _leverage(columns, errors, floor))
        squares = float(missed @ missed)
        if best is None or squares < best[0]:
            best = squares, floor, weights
    assert best is not None  # there is at least one floor
    return best[1], best[2]


def design(points: Sequence[Point]) -> tuple[Matrix, Vector]:
    """Places and errors of points, as arrays."""
    return np.array([point.place for point in points]), np.array([point.error for point in points])


@cache
def imagenet_surrogate() -> Surrogate:
    """The surface of the published points. About 0.1 s."""
    return fit(*design(published_points()))
