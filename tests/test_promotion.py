"""The promotion gate: each rule on its own, and the whole gate under simulation."""

import math

import numpy as np
import pytest
import scipy.stats

from multimodal.promotion import Evidence, GateOptions, TaskValues, compare, decide, rules_table
from multimodal.promotion.comparison import differences, paired_gain

GATE = GateOptions()


def score(task="caption", metric="exact", value=0.6, **more):
    """One entry of report.json's scores."""
    rising = more.pop("higher_is_better", True)
    return {
        "task": task, "metric": metric, "value": value, "higher_is_better": rising, "signature": "s",
        "conditioning_gap": 0.3, "interval": None, **more,
    }  # fmt: skip


def report(*scores, slices=(), **more):
    """A report.json with the keys that the gate reads."""
    tasks = {entry["task"]: {"samples": 100, "ms_per_sample": 5.0, "main_metric": entry["metric"]} for entry in scores}
    found = {"scores": list(scores), "slices": list(slices), "tasks": tasks}
    return found | {"decontamination": {"test_in_train": 0, "checked": 100}} | more


def part(name, value, count=50, task="caption", metric="exact"):
    """One slice."""
    return {"task": task, "metric": metric, "name": name, "value": value, "count": count}


def values(array, metric="exact", groups=None):
    """Per-sample values under keys that two versions share."""
    return TaskValues(metric, {str(index): float(value) for index, value in enumerate(array)}, groups or {})


def verdicts(challenger, champion=None, gate=GATE):
    """Rule -> verdict."""
    return {rule.name: rule for rule in decide(challenger, champion, gate).rules}


def test_the_first_version_passes_what_needs_a_champion_and_is_judged_by_the_rest():
    """Without a champion three rules say so; the conditioning gap still counts."""
    found = verdicts(Evidence(0.5, report(score())))
    assert all(rule.passed for rule in found.values())
    assert [name for name, rule in found.items() if "no champion" in rule.text] == ["gain", "tasks", "worst_slice"]
    blind = decide(Evidence(0.5, report(score(conditioning_gap=0.0))), None, GATE)
    assert not blind.passed and blind.reason.startswith("conditioning_gap: 0 for caption, above 0 is asked")


def test_paired_bound_is_that_of_the_t_test():
    """With one task the interval is scipy's paired t interval of the differences."""
    generator = np.random.default_rng(0)
    ours, theirs = generator.random((2, 60))
    gain = compare(Evidence(0, None, {"a": values(ours)}), Evidence(0, None, {"a": values(theirs)}), 0.9)
    expected = scipy.stats.ttest_rel(ours, theirs).confidence_interval(0.9)
    assert (gain.low, gain.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert gain.value == pytest.approx(np.mean(ours - theirs)) and gain.basis.startswith("pairs of 60")


def test_tasks_count_alike_however_many_samples_they_have():
    """The gain is the mean of the tasks' gains, and the interval that of Welch's sum of two means."""
    generator = np.random.default_rng(1)
    pairs = {"a": generator.normal(0.2, 1, 40), "b": generator.normal(-0.1, 2, 400)}
    gain = paired_gain(pairs, 0.95)
    assert gain.value == pytest.approx((pairs["a"].mean() + pairs["b"].mean()) / 2)
    expected = scipy.stats.ttest_ind(pairs["a"], -pairs["b"], equal_var=False).confidence_interval(0.95)
    assert (gain.low, gain.high) == pytest.approx((expected.low / 2, expected.high / 2))


def test_samples_of_one_group_count_once():
    """Five captions of one picture are one observation, their mean."""
    groups = {str(index): f"picture {index // 5}" for index in range(50)}
    ours, theirs = values(np.arange(50) % 5, groups=groups), values(np.zeros(50))
    assert differences(ours, theirs) == pytest.approx(np.full(10, 2.0))


def test_values_of_another_metric_are_not_compared_by_pairs():
    """Other metric or tokeniser: the reported scores decide, and the text says so."""
    ours = Evidence(0, report(score(value=0.7, interval=(0.66, 0.74))), {"caption": values(np.ones(50), "exact|a")})
    theirs = Evidence(0, report(score(value=0.6, interval=(0.57, 0.63))), {"caption": values(np.zeros(50), "exact|b")})
    gain = compare(ours, theirs)
    assert gain.value == pytest.approx(0.1) and gain.low == pytest.approx(0.1 - math.hypot(0.04, 0.03))
    rule = verdicts(ours, theirs)["gain"]
    assert rule.passed and "by the reported scores and their intervals, not pairs" in rule.text
    wider = compare(ours, theirs, 0.99)
    assert wider.value - wider.low == pytest.approx(0.05 * 2.5758 / 1.95996, rel=1e-4)


def test_reported_scores_without_intervals_and_val_scores_alone():
    """Worse evidence is used where there is no better, and named."""
    better = verdicts(Evidence(0, report(score(value=0.7))), Evidence(0, report(score(value=0.6)), version=3))["gain"]
    assert better.passed and "no intervals" in better.text and "champion version 3" in better.text
    rule = verdicts(Evidence(0.4), Evidence(0.5, version=1))["gain"]
    assert not rule.passed and rule.text.startswith("val score 0.4000 against 0.5000 of champion version 1")


def test_the_same_answers_are_no_gain():
    """A version that writes exactly the champion's texts does not replace it."""
    same = values(np.linspace(0, 1, 50))
    rule = verdicts(Evidence(0, None, {"a": same}), Evidence(0, None, {"a": same}))["gain"]
    assert not rule.passed and rule.value == 0


def test_an_error_rate_falls_when_it_gets_better():
    """Metrics of either direction and range are put on one scale."""
    wer = {"task": "transcribe", "metric": "wer", "higher_is_better": False}
    ours = report(score(value=5.0, metric="cider_d"), score(value=0.1, **wer))
    theirs = report(score(value=4.0, metric="cider_d"), score(value=0.3, **wer))
    gain = compare(Evidence(0, ours), Evidence(0, theirs))
    assert gain.per_task == pytest.approx({"caption": 0.1, "transcribe": 0.2})


def test_worst_slice_may_fall_by_the_limit_and_no_more():
    """The worst slice of each task is compared; slices below 20 samples do not count."""
    champion = Evidence(0, report(score(), slices=[part("red", 0.5), part("blue", 0.9), part("tiny", 0.0, count=19)]))
    ours = [Evidence(0, report(score(), slices=[part("red", 0.8), part("blue", value)])) for value in (0.46, 0.44)]
    assert [verdicts(one, champion)["worst_slice"].passed for one in ours] == [True, False]
    rule = verdicts(ours[1], champion)["worst_slice"]
    assert rule.value == pytest.approx(0.06) and "caption, blue: -0.0600" in rule.text and "worst, red" in rule.text


def test_worst_slice_that_the_report_names_is_used():
    """report.json's own worst slice, of a metric that falls, is turned round."""
    wer = {"task": "transcribe", "metric": "wer", "higher_is_better": False}
    found = []
    for value in (0.1, 0.3):
        entry = report(score(value=0.1, **wer))
        entry["tasks"]["transcribe"]["worst_slice"] = {"slice": "x", "metric": "wer", "value": value, "samples": 30}
        found.append(Evidence(0, entry))
    assert verdicts(found[1], found[0])["worst_slice"].value == pytest.approx(0.2)


def test_latency_decontamination_and_lost_tasks():
    """Each of the other rules fails on its own, with the number that it found."""
    gate = GateOptions(max_ms_per_sample=5.0)
    good = Evidence(0, report(score()))
    assert verdicts(good, None, gate)["latency"].passed
    slow = report(score())
    slow["tasks"]["caption"]["ms_per_sample"] = 5.1
    assert verdicts(Evidence(0, slow), None, gate)["latency"].text == "5.1 for caption, at most 5 is asked"
    leaked = report(score(), decontamination={"test_in_train": 2, "checked": 100})
    rule = verdicts(Evidence(0, leaked))["decontamination"]
    assert not rule.passed and rule.text == "2 of 100 test contents are in train; at most 0 may be"
    assert verdicts(Evidence(0, leaked), None, GateOptions(max_test_in_train=2))["decontamination"].passed
    lost = verdicts(good, Evidence(0, report(score(), score("transcribe"))))["tasks"]
    assert not lost.passed and lost.text == "no longer scored: transcribe"
    unchecked = {key: value for key, value in report(score()).items() if key != "decontamination"}
    assert not verdicts(Evidence(0, unchecked))["decontamination"].passed
    assert not verdicts(Evidence(math.nan, report(score())))["val_score"].passed


def test_rules_can_be_switched_off():
    """`null` in the configuration lets a rule pass and say so."""
    off = GateOptions(worst_slice_drop=None, min_conditioning_gap=None, max_ms_per_sample=None, max_test_in_train=None)
    found = verdicts(Evidence(0, report(score(conditioning_gap=-1))), None, off)
    assert [name for name, rule in found.items() if rule.text == "switched off"] == [
        "worst_slice", "conditioning_gap", "latency", "decontamination"
    ]  # fmt: skip
    rows = rules_table(decide(Evidence(0), None, off).rules)
    assert {row["verdict"] for row in rows} == {"passed"} and all(row["why"] for row in rows)


def simulate(true_gain_in_errors, comparisons=1000, samples=300, noise=0.25):
    """Share of comparisons that the whole gate passes, for a true gain given in standard errors of the mean.

    Two tasks, one of them with few samples; half of the samples of a pair agree, as those of two models do, and each
    task has four slices that are scored on what was drawn.
    """
    generator = np.random.default_rng(7)
    sizes = {"caption": samples, "transcribe": samples // 3}
    spread = noise / math.sqrt(2)  # half of the differences are 0
    error = math.sqrt(sum(spread**2 / size for size in sizes.values())) / len(sizes)
    promoted = 0
    for _ in range(comparisons):
        ours, theirs = {}, {}
        for task, size in sizes.items():
            base = generator.random(size)
            change = generator.normal(0, noise, size) * (generator.random(size) < 0.5)
            theirs[task], ours[task] = base, base + change + true_gain_in_errors * error
        promoted += decide(_drawn(ours), _drawn(theirs), GATE).passed
    return promoted / comparisons


def _drawn(found):
    slices = [
        part(f"slice {index}", float(array[index::4].mean()), len(array[index::4]), task)
        for task, array in found.items()
        for index in range(4)
    ]
    scores = [score(task, value=float(array.mean())) for task, array in found.items()]
    return Evidence(0.5, report(*scores, slices=slices), {task: values(array) for task, array in found.items()})


def test_gate_under_simulation():
    """No true difference: at most 5 % of 1,000 are promoted; three standard errors: at least 80 %."""
    assert simulate(0) <= 0.05
    assert simulate(3) >= 0.80
