"""The goals of a comparison, each with what was measured and whether it is met."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from multimodal.bench.options import DEFAULT, BenchOptions, Curve
from multimodal.bench.scores import Difference, PointScore
from multimodal.bench.speed import Speed
from multimodal.sample import Task

SAME_CALLS = 0.05
"""Mean calls per text by which the subject may exceed a rival and still count as equal."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One goal.

    Args:
        goal: in words.
        met: None where it could not be measured.
        measured: the figures, or what is missing.
    """

    goal: str
    met: bool | None
    measured: str

    @property
    def word(self) -> str:
        """For tables."""
        return {True: "met", False: "missed", None: "not measured"}[self.met]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that was measured.

    Args:
        options: what was compared.
        scores: of all contenders, points and tasks.
        speed: of one checkpoint of each.
    """

    options: BenchOptions
    scores: Sequence[PointScore]
    speed: Speed

    def main(self, contender: str, point: str) -> dict[Task, PointScore]:
        """The main metric of each task at one point."""
        found = (score for score in self.scores if (score.contender, score.point) == (contender, point))
        return {score.task: score for score in found if score.is_main}

    def difference(self, first: PointScore, second: PointScore) -> Difference:
        """How much better the first is, with its 95 % interval."""
        return first.against(second, self.options.resamples)

    def differences(self, pairs: Sequence[tuple[PointScore, PointScore]]) -> list[Difference]:
        """The same of many pairs that are judged together: their intervals are corrected for their number."""
        return [first.against(second, self.options.resamples, len(pairs)) for first, second in pairs]

    def speed_up(self, over: str, batch_size: int) -> dict[Task, float]:
        """How many times faster the subject writes each task at its default than another contender at its own."""
        ms = {
            (one.contender, one.task): one.ms_per_text
            for one in self.speed.latencies
            if one.point == DEFAULT and one.batch_size == batch_size
        }
        subject = self.options.subject
        return {task: ms[over, task] / ms[name, task] for name, task in ms if name == subject and (over, task) in ms}

    def curve_points(self, curve: str) -> list[str]:
        """Names of the points of one of the subject's curves."""
        return list(self.options.catalogue[self.options.subject].curves[curve].points(curve))

    @property
    def own_curve(self) -> str | None:
        """The subject's first curve that is not a rival's."""
        curves = self.options.catalogue[self.options.subject].curves
        return next((name for name, curve in curves.items() if not curve.source), None)

    @property
    def rivals(self) -> dict[str, Curve]:
        """The subject's curves with the samplers of papers."""
        curves = self.options.catalogue[self.options.subject].curves
        return {name: curve for name, curve in curves.items() if curve.source}


def judge(comparison: Comparison) -> list[Verdict]:
    """All goals, in the order in which they are reported."""
    options, batches = comparison.options, comparison.options.timing.batch_sizes
    smallest, largest = min(batches), max(batches)
    return [
        _as_good_as_twin(comparison),
        _faster(comparison, options.twin, smallest, 2.0),
        *([_faster(comparison, options.library, smallest, 3.0)] if options.library else []),
        *([_faster(comparison, options.twin, largest, 1.0)] if largest > smallest else []),
        *(_beats_rival(comparison, name, curve) for name, curve in comparison.rivals.items()),
        _more_steps_never_worse(comparison),
        _alone_equals_batch(comparison),
    ]


def _as_good_as_twin(comparison: Comparison) -> Verdict:
    subject, twin = comparison.options.subject, comparison.options.twin
    goal = f"{subject} at least as good as {twin}, within the interval, on every task"
    own, others = comparison.main(subject, DEFAULT), comparison.main(twin, DEFAULT)
    if not own or not others:
        return _missing(goal, subject, twin)
    gains = [(score, comparison.difference(score, others[task])) for task, score in own.items()]
    figures = "; ".join(f"{score.task} {score.metric} {shown_gain(gain)}" for score, gain in gains)
    return Verdict(goal, all(gain.verdict != "worse" for _, gain in gains), figures)


def _faster(comparison: Comparison, over: str, batch_size: int, factor: float) -> Verdict:
    subject = comparison.options.subject
    claim = "not slower than" if factor == 1 else f"{factor:g} times faster than"
    goal = f"{subject} {claim} {over} at batch {batch_size}"
    ratios = comparison.speed_up(over, batch_size)
    if not ratios:
        return _missing(goal, subject, over)
    mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
    each = ", ".join(f"{task} {ratio:.2f}" for task, ratio in ratios.items())
    return Verdict(goal, mean >= factor, f"{mean:.2f} times (geometric mean over tasks: {each})")


def _beats_rival(comparison: Comparison, name: str, curve: Curve) -> Verdict:
    """At each of the rival's points the subject's own point with the most calls that are no more than the rival's."""
    goal = f"{comparison.options.subject} better than {curve.source} ({name}) at the same calls"
    pairs = list(_at_the_same_calls(comparison, name))
    if not pairs:
        return Verdict(goal, None, "no point of its own curve takes as few calls")
    gains = comparison.differences(pairs)
    counts = Counter(gain.verdict for gain in gains)
    told = ", ".join(f"{counts[word]} {word}" for word in ("better", "equal", "worse"))
    (own, rival), lowest = min(zip(pairs, gains, strict=True), key=lambda pair: pair[1].interval[1])
    which = f"{own.task}, {own.nfe:.2f} calls for {rival.nfe:.2f}: {shown_gain(lowest)}"
    met = counts["worse"] == 0 and counts["better"] > 0
    return Verdict(goal, met, f"of {len(gains)} tasks and numbers of calls {told}; the lowest is {which}")


def _at_the_same_calls(comparison: Comparison, rival: str) -> Iterator[tuple[PointScore, PointScore]]:
    if comparison.own_curve is None:
        return
    subject = comparison.options.subject
    own = [comparison.main(subject, point) for point in (DEFAULT, *comparison.curve_points(comparison.own_curve))]
    for point in comparison.curve_points(rival):
        for task, theirs in comparison.main(subject, point).items():
            fitting = [scores[task] for scores in own if task in scores and scores[task].nfe <= theirs.nfe + SAME_CALLS]
            if fitting:
                yield max(fitting, key=lambda score: score.nfe), theirs


def _more_steps_never_worse(comparison: Comparison) -> Verdict:
    subject, curve = comparison.options.subject, comparison.own_curve
    goal = f"more steps of {subject} never worse"
    if curve is None or comparison.options.catalogue[subject].curves[curve].vary != "num_steps":
        return Verdict(goal, None, "its first own curve does not vary num_steps")
    points = [comparison.main(subject, point) for point in comparison.curve_points(curve)]
    pairs = [(more[task], fewer[task]) for fewer, more in pairwise(points) for task in fewer]
    if not pairs:
        return _missing(goal, subject)
    worse = [
        f"{more.task}, {more.point} over {fewer.point}: {shown_gain(gain)}"
        for (more, fewer), gain in zip(pairs, comparison.differences(pairs), strict=True)
        if gain.verdict == "worse"
    ]
    return Verdict(goal, not worse, "; ".join(worse) or f"{len(pairs)} rises in steps, none of them worse")


def _alone_equals_batch(comparison: Comparison) -> Verdict:
    shares = comparison.speed.alone_equals_batch
    figures = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
    return Verdict("a text alone equals the text in a batch", all(share == 1 for share in shares.values()), figures)


def _missing(goal: str, *names: str) -> Verdict:
    return Verdict(goal, None, f"needs {' and '.join(names)} in one run: leave `contenders` out")


def shown_gain(gain: Difference, format_: Callable[[float], str] = "{:+.3f}".format) -> str:
    """A gain with its interval."""
    low, high = (format_(end) for end in gain.interval)
    return f"{format_(gain.gain)} ({low} to {high})"
