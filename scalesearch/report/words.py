"""What the report says differently by evaluator: where accuracies come from, and what judging a network is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from scalesearch.search.run import Run


@dataclass(frozen=True, slots=True)
class Words:
    """`label` goes above the page and the summary, or None. `judged` is a past participle; `judgement` a noun."""

    label: str | None
    judged: str
    judgement: str
    task: str  # heading over accuracies
    accuracy: str  # the same within a sentence
    axis: str  # of figures
    colour: str  # of the colour bar
    networks: str  # "All 5 …"
    known: str  # "of all … networks", in what stands for a figure
    plus_minus: str  # what ± is in the table of candidates
    published: str  # how the paper's accuracies compare with these
    error_bars: str
    noise: str  # with {deviation} in points and {freedom}
    score: str  # what a score is; empty where the objective says it
    digits: int  # of a difference in points
    sure: str  # what the accuracies mean
    without: str  # heading of what has no accuracy
    missing: str
    figures: tuple[str, ...]


_FIRST_HAND: Mapping[str, Words] = {
    "train": Words(
        label=None,
        judged="trained",
        judgement="training",
        task="on the proxy task",
        accuracy="accuracy on the proxy task",
        axis="proxy top-1 accuracy (%)",
        colour="mean proxy accuracy (%)",
        networks="measured proxy network",
        known="measured",
        plus_minus="± is one standard error from this network's own seeds.",
        published="they cannot be compared with the accuracies above.",
        error_bars="Error bars are ±1 standard error of the mean, from the seed noise pooled over all candidates.",
        noise=(
            "seed noise: standard deviation {deviation:.2f} points of score per training, pooled over all candidates "
            "({freedom} degrees of freedom)"
        ),
        score="",
        digits=1,
        sure=(
            "All accuracies are on the proxy task: they rank networks, and say nothing of the accuracy of a full "
            "training."
        ),
        without="Trainings that did not finish",
        missing="not measured",
        figures=("simplex", "single_dimension", "accuracy_flops", "curves"),
    ),
    "imagenet_surrogate": Words(
        label=(
            "Nothing was trained: every accuracy and error here is predicted for ImageNet by imagenet_surrogate, a "
            "surface fitted to published points (Dollár et al. 2021, scaled EfficientNet-B0s, 200 epochs, one recipe)."
        ),
        judged="asked about",
        judgement="prediction",
        task="predicted, ImageNet",
        accuracy="predicted ImageNet accuracy",
        axis="predicted ImageNet top-1 (%)",
        colour="predicted ImageNet top-1 (%)",
        networks="predicted network",
        known="predicted",
        plus_minus="± is one standard error of the prediction, by bootstrap of the published points.",
        published="the accuracies above are predicted for another recipe, so that only differences compare.",
        error_bars="Error bars are ±1 standard error of the prediction, by bootstrap of the published points.",
        noise=(
            "standard error of a prediction: {deviation:.2f} points of score (median of all candidates), from "
            "bootstrap replicates of the fit, which are the same for all networks; one training would scatter "
            "by another 0.09 points"
        ),
        score="A score is the predicted accuracy at exactly twice the base's FLOPs, along the network's own split.",
        digits=2,
        sure=(
            "Accuracies are of the published recipe (200 epochs, label smoothing, mixup) and of no other; another "
            "moves all of them, and may move their order."
        ),
        without="Networks without a prediction",
        missing="outside the hull",
        figures=("simplex", "single_dimension", "accuracy_flops"),
    ),
}
# A replay is worded like the training that was recorded.
WORDS: Mapping[str, Words] = {
    **_FIRST_HAND,
    "replay": replace(
        _FIRST_HAND["train"],
        label=(
            "Nothing was trained now: every training here is read from a recording, or drawn with fresh noise of the "
            "recorded size, and its seconds are those of the recording."
        ),
    ),
}


def words(run: Run) -> Words:
    return WORDS[run.settings.evaluator]
