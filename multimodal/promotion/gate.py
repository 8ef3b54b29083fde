"""The rules of the promotion gate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multimodal.promotion.comparison import SCALE, Evidence, compare, main_scores, scaled
from multimodal.promotion.options import GateOptions

MIN_SLICE = 20
"""Smallest slice that can be a task's worst: the score of fewer samples is mostly chance."""

NO_CHAMPION = "no champion to compare with"
NO_REPORT = "not checked: no evaluation was given"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule's verdict.

    Args:
        name: of the rule.
        value: what was found, None where nothing could be.
        limit: what it was compared with, None where there is none.
        passed: the verdict.
        text: both in words.
    """

    name: str
    value: float | None
    limit: float | None
    passed: bool
    text: str


@dataclass(frozen=True, slots=True)
class Decision:
    """All verdicts."""

    rules: tuple[Rule, ...]

    @property
    def passed(self) -> bool:
        """Whether every rule passed."""
        return all(rule.passed for rule in self.rules)

    @property
    def reason(self) -> str:
        """Why, or why not, in one line."""
        failed = [rule for rule in self.rules if not rule.passed]
        if failed:
            return "; ".join(f"{rule.name}: {rule.text}" for rule in failed)
        return f"passed all {len(self.rules)} rules; {self.rules[0].text}"


def decide(challenger: Evidence, champion: Evidence | None, gate: GateOptions) -> Decision:
    """Judge a version by all rules. Rules against a champion pass where there is none."""
    return Decision(
        (
            _gain_rule(challenger, champion, gate),
            _tasks_rule(challenger, champion),
            _worst_slice_rule(challenger, champion, gate.worst_slice_drop),
            _gap_rule(challenger, gate.min_conditioning_gap),
            _latency_rule(challenger, gate.max_ms_per_sample),
            _decontamination_rule(challenger, gate.max_test_in_train),
            Rule(
                "val_score", _known(challenger.val_score), None, math.isfinite(challenger.val_score),
                f"the val score is {challenger.val_score:.4f}",
            ),
        )
    )  # fmt: skip


def rules_table(rules: Sequence[Rule]) -> list[dict[str, Any]]:
    """Rows for people: rule, verdict, value, limit and words."""
    return [
        {
            "rule": rule.name,
            "verdict": "passed" if rule.passed else "failed",
            "value": None if rule.value is None else round(rule.value, 4),
            "limit": rule.limit,
            "why": rule.text,
        }
        for rule in rules
    ]


def _gain_rule(challenger: Evidence, champion: Evidence | None, gate: GateOptions) -> Rule:
    if champion is None:
        return Rule("gain", None, gate.min_gain, True, NO_CHAMPION)
    over = f"champion version {champion.version}" if champion.version else "the champion"
    gain = compare(challenger, champion, gate.confidence)
    if gain is None:
        value = challenger.val_score - champion.val_score
        passed = value > gate.min_gain or math.isnan(champion.val_score)
        text = f"val score {challenger.val_score:.4f} against {champion.val_score:.4f} of {over}; no scores of both"
        return Rule("gain", value, gate.min_gain, passed, text)
    low = gain.value if math.isnan(gain.low) else gain.low
    sure = "" if math.isnan(gain.low) else f", {100 * gate.confidence:g} % sure of more than {gain.low:+.4f}"
    text = f"gain {gain.value:+.4f} over {over}{sure} (above {gate.min_gain:g} is asked; by {gain.basis})"
    return Rule("gain", low, gate.min_gain, low > gate.min_gain, text)


def _tasks_rule(challenger: Evidence, champion: Evidence | None) -> Rule:
    if champion is None:
        return Rule("tasks", None, 0, True, NO_CHAMPION)
    if challenger.report is None or champion.report is None:
        return Rule("tasks", None, 0, True, NO_REPORT)
    lost = sorted(main_scores(champion.report).keys() - main_scores(challenger.report).keys())
    text = f"no longer scored: {', '.join(lost)}" if lost else "every task of the champion is scored"
    return Rule("tasks", len(lost), 0, not lost, text)


def _worst_slice_rule(challenger: Evidence, champion: Evidence | None, limit: float | None) -> Rule:
    name = "worst_slice"
    if limit is None:
        return _off(name)
    if champion is None:
        return Rule(name, None, limit, True, NO_CHAMPION)
    ours, theirs = _worst_slices(challenger.report or {}), _worst_slices(champion.report or {})
    drops = {task: theirs[task][1] - ours[task][1] for task in ours if task in theirs}
    if not drops:
        return Rule(name, None, limit, True, "not checked: the reports share no slices")
    task = max(drops, key=drops.__getitem__)
    drop = drops[task]
    text = f"{task}, {ours[task][0]}: {-drop:+.4f} against the champion's worst, {theirs[task][0]}; at least {-limit:g}"
    return Rule(name, drop, limit, drop <= limit, text)


def _worst_slices(report: Mapping[str, Any]) -> dict[str, tuple[str, float]]:
    """Task -> name and scaled value of its worst slice of at least `MIN_SLICE` samples."""
    rising = {(score["task"], score["metric"]): score["higher_is_better"] for score in report.get("scores", ())}
    worst: dict[str, tuple[str, float]] = {}
    for task in dict.fromkeys(task for task, _ in rising):
        named = report.get("tasks", {}).get(task, {}).get("worst_slice")
        parts = [named] if named else [part for part in report.get("slices", ()) if part["task"] == task]
        found = [
            (
                str(part.get("slice", part.get("name"))),
                scaled(part["metric"], part["value"], rising[task, part["metric"]]),
            )
            for part in parts
            if part.get("samples", part.get("count", 0)) >= MIN_SLICE and (task, part["metric"]) in rising
        ]
        if found:
            worst[task] = min(found, key=lambda item: item[1])
    return worst


def _gap_rule(challenger: Evidence, limit: float | None) -> Rule:
    if limit is None:
        return _off("conditioning_gap")
    if challenger.report is None:
        return Rule("conditioning_gap", None, limit, True, NO_REPORT)
    gaps = {
        task: score["conditioning_gap"] / SCALE.get(score["metric"], 1.0)
        for task, score in main_scores(challenger.report).items()
    }
    return _extreme_rule("conditioning_gap", gaps, limit, least=True)


def _latency_rule(challenger: Evidence, limit: float | None) -> Rule:
    if limit is None:
        return _off("latency")
    if challenger.report is None:
        return Rule("latency", None, limit, True, NO_REPORT)
    return _extreme_rule("latency", latencies(challenger.report), limit, least=False)


def latencies(report: Mapping[str, Any]) -> dict[str, float]:
    """Task -> milliseconds per text."""
    found: dict[str, float] = {}
    for task, facts in report.get("tasks", {}).items():
        milliseconds = facts.get("ms_per_sample", 1000 * facts.get("seconds", math.nan) / max(1, facts["samples"]))
        found[task] = float(milliseconds)
    return found


def _extreme_rule(name: str, values: Mapping[str, float], limit: float, least: bool) -> Rule:
    """The task with the least value must lie above the limit, or that with the greatest not above it."""
    if not values:
        return Rule(name, None, limit, False, "the report does not say; run the evaluate stage again")
    task = (min if least else max)(values, key=values.__getitem__)
    value = values[task]
    passed = value > limit if least else value <= limit
    return Rule(
        name, value, limit, passed, f"{value:.4g} for {task}, {'above' if least else 'at most'} {limit:g} is asked"
    )


def _decontamination_rule(challenger: Evidence, limit: int | None) -> Rule:
    name = "decontamination"
    if limit is None:
        return _off(name)
    if challenger.report is None:
        return Rule(name, None, limit, True, NO_REPORT)
    counts = challenger.report.get("decontamination")
    if counts is None:
        return Rule(name, None, limit, False, "the report does not say; run the evaluate stage again")
    found = counts["test_in_train"]
    text = f"{found} of {counts['checked']} test contents are in train; at most {limit} may be"
    return Rule(name, found, limit, found <= limit, text)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _off(name: str) -> Rule:
    return Rule(name, None, None, True, "switched off")
