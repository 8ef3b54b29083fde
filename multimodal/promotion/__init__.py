"""The promotion gate: rules that a new version has to pass before it becomes champion. Numbers in, verdicts out.

    gain              lower confidence bound of the gain over the champion, on the same test samples
    tasks             every task that the champion writes is still written
    worst_slice       no task's worst slice is worse than the champion's by more than a limit
    conditioning_gap  every task scores better than with another sample's condition
    latency           milliseconds per text
    decontamination   test contents that are in train
    val_score         the sampled score on the val split is a number

All tasks count alike. Values of different metrics are put on one scale, 0 to 1 and higher is better: an error rate is
turned round, CIDEr-D is divided by 10, and what runs to 100 by 100. The bound is that of the two-sided interval of
paired differences (Student's t, one stratum per task, Welch-Satterthwaite degrees of freedom), so a version that is no
better is taken for better half as often as the confidence allows: with 0.95, once in 40 times. Samples of one content
(several captions of a picture) are averaged first: they are not independent.
"""

from multimodal.promotion.comparison import Evidence, Gain, TaskValues, compare, differences, main_scores, scaled
from multimodal.promotion.gate import Decision, Rule, decide, latencies, rules_table
from multimodal.promotion.options import GateOptions

__all__ = [
    "Decision",
    "Evidence",
    "Gain",
    "GateOptions",
    "Rule",
    "TaskValues",
    "compare",
    "decide",
    "differences",
    "latencies",
    "main_scores",
    "rules_table",
    "scaled",
]
