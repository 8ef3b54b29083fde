from __future__ import annotations

import re

from PIL import Image

from multimodal.dataset import Dataset
from multimodal.evaluation.report.check_charts import BOTTOM, TOP, WIDTH, check_charts
from multimodal.evaluation.report.data_card import data_card
from multimodal.ingest import ingest
from multimodal.ingest.histograms import Histogram
from multimodal.ingest.options import IngestOptions
from multimodal.sample import Modality


def test_a_chart_has_a_bar_per_bin_and_a_line_per_limit_within_it():
    """Heights are in proportion, the threshold is where its value is, a limit far out is only said."""
    histogram = Histogram(Modality.IMAGE, "aspect_ratio", 0.5, 3.0, (1.0, 2.0, 3.5, 5.0), (10, 5, 0), (10, 1, 0), 2)
    (chart,) = check_charts([histogram])
    assert [round(bar.rows / (BOTTOM - TOP), 2) for bar in chart.bars] == [1.0, 0.5]
    assert [round(bar.kept / (BOTTOM - TOP), 2) for bar in chart.bars] == [1.0, 0.1]
    assert chart.lines == ((1 + 1 / 1.5) * WIDTH / 3,)
    assert chart.threshold == "at least 0.5, at most 3: 2 rows refused"
    assert chart.bars[1].title.startswith("2 to 3.5")
    assert (chart.first, chart.last) == ("1", "5")
    pixels = Histogram(Modality.IMAGE, "pixels", 1, 9, (10.0, 100.0, 1000.0), (1, 1), (1, 1), 0)
    assert [chart.last for chart in check_charts([pixels])] == ["1,000 pixels (log scale)"]


def test_a_check_that_found_all_alike_is_not_drawn():
    """One bin says nothing."""
    assert list(check_charts([Histogram(Modality.IMAGE, "frames", None, 9, (1.0, 2.0), (5,), (5,), 0)])) == []


def test_the_data_card_draws_what_ingest_measured(tmp_path):
    """From the profile beside the dataset's own ledger; samples that stand out are counted."""
    rows = ["path\ttext"]
    for number in range(40):
        side = 300 if number == 7 else 30 + number % 6
        Image.effect_noise((side, side), 50).convert("RGB").save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png\tpicture {'ab' * (1 + number % 4)}")
    (tmp_path / "m.tsv").write_text("\n".join(rows))
    source = {"name": "s", "task": "caption", "path": tmp_path / "m.tsv"}
    options = IngestOptions(sources=[source], sandbox={"workers": 1})
    card = data_card(Dataset(ingest(options, seed=0, workspace=tmp_path / "w").path))
    charts = {chart.title: chart for chart in card.checks}
    assert {"image pixels", "text characters"} <= set(charts)
    counted = [int(re.search(r": (\d+) rows", bar.title)[1]) for bar in charts["image pixels"].bars]
    assert sum(counted) == 40
    assert {share.name: share.count for share in card.flags}["image pixels"] == 1
