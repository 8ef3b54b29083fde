"""`report.html`: one self-contained page with scores and controls, slices, examples, errors, speed, curves and data.

`page` puts it together; `scores`, `examples`, `trajectories`, `word_errors`, `objects`, `data_card` and `quarantine`
each prepare one part of it, `multimodal.evaluation.curves` draws. The layout is in `multimodal/evaluation/templates`.
"""

from multimodal.evaluation.report.inputs import ReportInputs
from multimodal.evaluation.report.page import render_report, stamp_verdict

__all__ = ["ReportInputs", "render_report", "stamp_verdict"]
