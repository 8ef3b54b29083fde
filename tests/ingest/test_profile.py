from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from multimodal.dataset import Dataset, Fate, read_ledger
from multimodal.ingest import ingest
from multimodal.ingest.measure_table import MeasureTable, read_measures
from multimodal.ingest.options import CheckOptions, IngestOptions
from multimodal.ingest.outliers import outliers, read_flags, robust_z
from multimodal.ingest.profile import read_profile
from multimodal.sample import Modality, normalise


@pytest.fixture
def corpus(tmp_path, manifest, picture, sound):
    """`corpus(**checks)`: options of pictures, one of them with two captions, of sounds, and of texts."""
    sizes = {"a.jpg": (32, 32), "b.jpg": (40, 32), "small.jpg": (20, 20), "wide.jpg": (120, 30)}
    for seed, (name, size) in enumerate(sizes.items()):
        (tmp_path / name).write_bytes(picture(seed, size=size))
    (tmp_path / "cut.jpg").write_bytes(picture(9)[:400])
    for seed, seconds in enumerate((0.2, 0.5, 0.9)):
        (tmp_path / f"{seed}.wav").write_bytes(sound(seed, seconds=seconds))
    captions = [
        ["a.jpg", "one dog"],
        ["a.jpg", "the dog"],
        ["a.jpg", "one  dog"],
        ["b.jpg", "two dogs and a long tail"],
    ]
    captions += [["small.jpg", "x"], ["wide.jpg", "y"], ["cut.jpg", "z"], ["no.jpg", "w"], ["a.jpg", ""]]
    sounds = [["0.wav", "short"], ["1.wav", "middle"], ["2.wav", "long"]]

    def options(**checks):
        tables = {"caption": captions, "transcribe": sounds}
        sources = [
            {"name": task, "task": task, "path": manifest(f"{task}.csv", [["path", "text"], *rows])}
            for task, rows in tables.items()
        ]
        return IngestOptions(sources=sources, checks=checks, sandbox={"workers": 1})

    return options


def test_histograms_count_the_rows_that_reached_each_check(corpus, tmp_path):
    """Rows, kept and refused of every check agree with the ledger: nothing is measured twice, nothing left out."""
    checks = {"min_image_pixels": 500, "max_aspect_ratio": 2, "max_clip_seconds": 0.6, "max_text_chars": 20}
    info = ingest(corpus(**checks), seed=0, workspace=tmp_path / "w")
    assert info.by_reason == {
        "too_small": 1, "extreme_aspect_ratio": 1, "truncated_image": 1, "missing_file": 1, "empty_text": 1,
        "too_long": 1, "text_too_long": 1,
    }  # fmt: skip
    drawn = {(one.modality, one.measure): one for one in read_profile(info.ledger).histograms}
    found = {name: (sum(one.rows), sum(one.kept), one.refused) for name, one in drawn.items()}
    # b.jpg's row has too long a text: its picture is never reached. a.jpg has three rows, one of them a duplicate;
    # cut.jpg ends before it states its size.
    assert found[Modality.IMAGE, "pixels"] == (5, 2, 1)
    assert found[Modality.IMAGE, "aspect_ratio"] == (5, 2, 1)
    assert found[Modality.IMAGE, "contrast"] == (3, 2, 0)
    assert found[Modality.AUDIO, "seconds"] == (3, 2, 1)
    assert found[Modality.AUDIO, "peak_dbfs"] == (2, 2, 0)
    assert found[Modality.TEXT, "characters"] == (11, 4, 1)
    pixels = drawn[Modality.IMAGE, "pixels"]
    assert (pixels.low, pixels.high, pixels.edges[0], pixels.edges[-1]) == (500, 40_000_000, 400, 3600)
    assert list(pixels.edges) == sorted(pixels.edges)


def test_files_beyond_the_limit_of_bytes_are_measured_too(corpus, tmp_path):
    """They are refused before a decoder sees them, and still counted."""
    info = ingest(corpus(max_file_bytes=2000), seed=0, workspace=tmp_path / "w")
    drawn = {(one.modality, one.measure): one for one in read_profile(info.ledger).histograms}
    refused = sum(drawn[modality, "bytes"].refused for modality in (Modality.IMAGE, Modality.AUDIO))
    assert refused == info.by_reason["too_large"] > 0


def test_the_script_share_is_drawn_where_scripts_are_asked_for(corpus, tmp_path):
    """A check that is not asked for measures nothing."""
    for checks, count in (({}, 0), ({"scripts": ["LATIN"]}, 1)):
        info = ingest(corpus(**checks), seed=0, workspace=tmp_path / f"w{count}")
        names = [one.measure for one in read_profile(info.ledger).histograms]
        assert names.count("script_share") == count


def test_robust_z_is_in_units_of_the_median_deviation():
    """Iglewicz and Hoaglin's scores; a shift and a scale change nothing; equal values lie nowhere."""
    values = np.array([1, 2, 3, 4, 5, 100], np.float32)
    assert robust_z(values)[-1] == pytest.approx((100 - 3.5) / (1.4826 * 1.5))
    assert robust_z(7 * values + 3) == pytest.approx(robust_z(values))
    assert robust_z(np.full(9, 4.0, np.float32)).tolist() == [0.0] * 9
    assert len(robust_z(np.zeros(0, np.float32))) == 0


def test_a_rare_value_among_equal_ones_is_an_outlier_and_a_frequent_one_is_not():
    """Where the median deviation is 0, a value that a share p has lies 1 / sqrt(p) away."""
    for count, expected in ((1, 100), (1000, 10 / np.sqrt(10))):
        values = np.zeros(10_000, np.float32)
        values[:count] = 0.3
        assert robust_z(values)[0] == pytest.approx(expected)


def test_only_kept_entries_are_outliers_and_only_they_say_what_is_usual():
    """A refused file far out neither counts nor moves the median."""
    table = MeasureTable(Modality.AUDIO)
    for seconds in [1.0, 1.1, 1.2, 1.3, 9.0, 500.0]:
        table.count(table.add({"seconds": seconds}), is_kept=seconds < 100)
    assert list(outliers(table, Modality.AUDIO, 8)) == [4]


@pytest.fixture
def crowd(tmp_path, manifest):
    """`crowd(**checks)`: options of 60 grey pictures of like sizes, a huge one (two captions) and a flat one."""
    rng = np.random.default_rng(0)
    rows = [["path", "text"]]
    for number in range(62):
        size = (200, 150) if number == 60 else (30 + number % 5, 30 + number % 3)
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        pixels = np.full_like(pixels, 77) if number == 61 else pixels
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        rows.append([f"{number}.png", f"picture {'abcdefghij'[number % 10]}{'abcdefghij'[number // 10]}"])
    rows += [["60.png", "a caption more"], ["60.png", "a caption more"]]

    def options(**checks):
        source = {"name": "s", "task": "caption", "path": manifest("crowd.csv", rows)}
        return IngestOptions(sources=[source], checks=checks, sandbox={"workers": 1})

    return options


def test_outliers_are_flagged_with_their_feature_and_kept(crowd, tmp_path):
    """The huge picture for its pixels, with both captions; the flat one for contrast and sharpness."""
    info = ingest(crowd(flag_robust_z=6), seed=0, workspace=tmp_path / "w")
    samples = {sample.sample_id: sample for sample in Dataset(info.path).samples()}
    flags = list(read_flags(info.ledger))
    found = {(samples[flag.sample_id].uri, flag.feature) for flag in flags}
    assert {uri for uri, feature in found if feature == "image.pixels"} == {"crowd.csv#61", "crowd.csv#63"}
    assert {"image.contrast", "image.sharpness"} <= {feature for uri, feature in found if uri == "crowd.csv#62"}
    assert all(abs(flag.z) > 6 for flag in flags)
    assert next(flag for flag in flags if flag.feature == "image.pixels").value == 200 * 150
    profile = read_profile(info.ledger)
    assert sum(profile.flags.values()) == len(flags)
    assert profile.flagged == len({flag.sample_id for flag in flags})
    one = flags[0].sample_id
    assert list(read_flags(info.ledger, one)) == [flag for flag in flags if flag.sample_id == one]
    assert (info.counts.kept, info.counts.quarantined) == (63, 0)
    assert list(read_flags(ingest(crowd(flag_robust_z=None), seed=0, workspace=tmp_path / "w").ledger)) == []


def test_outliers_are_refused_where_asked(crowd, tmp_path):
    """Their rows and the duplicates of those are quarantined with feature and score; every sum still holds."""
    info = ingest(crowd(max_robust_z=20), seed=0, workspace=tmp_path / "w")
    rows = read_ledger(info.ledger, Fate.QUARANTINED)
    assert {row.uri for row in rows} == {"crowd.csv#61", "crowd.csv#62", "crowd.csv#63", "crowd.csv#64"}
    assert {row.reason for row in rows} == {"outlier"}
    assert "image.pixels 3e+04 lies" in next(row.detail for row in rows if row.uri == "crowd.csv#61")
    assert info.counts.rows == 64 == info.counts.kept + 4
    assert len(read_measures(info.ledger, Modality.IMAGE)["pixels"]) == info.counts.kept == 60
    kept = {sample.sample_id for sample in Dataset(info.path).samples()}
    assert {flag.sample_id for flag in read_flags(info.ledger)} <= kept
    pixels = next(one for one in read_profile(info.ledger).histograms if one.measure == "pixels")
    assert (sum(pixels.rows), sum(pixels.kept)) == (64, 60)


def test_texts_as_found_are_kept_where_they_differ(tmp_path, manifest):
    """Beside the normalised text and in no key: the same samples, contents and digest as without the odd spaces."""
    odd, plain = ["cafe\u0301  noir", " a  b"], ["caf\u00e9 noir", "a b"]
    infos = []
    for name, rows in (("odd", [odd, ["x", "y"]]), ("plain", [plain, ["x", "y"]])):
        source = {"name": "s", "task": "denoise", "path": manifest("m.csv", [["text", "input"], *rows])}
        infos.append(ingest(IngestOptions(sources=[source]), seed=0, workspace=tmp_path / name))
    first, second = (Dataset(info.path).samples() for info in infos)
    assert [json.loads(sample.originals or "{}") for sample in first] == [{"text": odd[0], "input": odd[1]}, {}]
    assert [sample.originals for sample in second] == ["", ""]
    assert [sample.sample_id for sample in first] == [sample.sample_id for sample in second]
    assert infos[0].digest == infos[1].digest
    assert normalise(odd[0]) == first[0].text == plain[0]


def test_the_end_of_a_line_is_no_part_of_its_text(tmp_path):
    """A plain text file keeps no original for its line feeds."""
    (tmp_path / "lines.txt").write_bytes(b"one line\r\nanother  line\n")
    source = {"name": "s", "task": "infill", "path": tmp_path / "lines.txt"}
    info = ingest(IngestOptions(sources=[source], checks=CheckOptions()), seed=0, workspace=tmp_path / "w")
    assert [sample.originals for sample in Dataset(info.path).samples()] == ["", '{"text": "another  line"}']
