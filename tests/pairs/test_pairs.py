"""How well pictures go with their captions: scored once, filtered on request, and never silently."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError

from multimodal.encoders import build_encoder
from multimodal.encoders.options import EncoderOptions
from multimodal.errors import DatasetError, EncoderError
from multimodal.fingerprint import INDEX, file_digests, read_index
from multimodal.ledger import count_rows, find_rows
from multimodal.pairs.choosing import write_pairs
from multimodal.pairs.filtered import FilteredDataset, left_out_of, open_dataset, reopen_dataset
from multimodal.pairs.known import KnownScores
from multimodal.pairs.options import PairOptions
from multimodal.pairs.scoring import score_samples
from multimodal.pairs.table import left_out_ids, left_out_rows, read_pairs, scores_of
from multimodal.sample import Modality, Split
from multimodal.training.job import TrainJob, plan_train
from multimodal.verification import verify
from tests.conftest import ROOT


def scored(scenes, known, samples=None):
    samples = scenes.dataset.samples() if samples is None else samples
    return score_samples(samples, scenes.store, lambda: scenes.encoder, known, batch_size=7)


def written(scenes, tmp_path, **options):
    """The table of a copy of the workspace, as `flows.pairs` writes it."""
    workspace = tmp_path / "workspace"
    for name in ("dataset", "ledger"):
        shutil.copytree(scenes.workspace / name, workspace / name, dirs_exist_ok=True)
    found = scored(scenes, KnownScores(tmp_path / "known"))
    parts = {"dataset": scenes.dataset.path.name, "options": PairOptions(**options).model_dump(mode="json")}
    from multimodal.fingerprint import fingerprint

    folder = workspace / "pairs" / fingerprint(parts)
    encoders = {Modality.IMAGE: scenes.encoder.fingerprint}
    counts = write_pairs(folder, {Modality.IMAGE: found}, encoders, PairOptions(**options), parts)
    return folder, counts, workspace / "dataset" / scenes.dataset.path.name


def test_a_score_is_the_cosine_of_clips_two_towers(scenes, tmp_path):
    """As open_clip's own two towers give it, picture by picture; a caption of another picture scores lower."""
    found = scored(scenes, KnownScores(tmp_path))
    media = {content.content_id: content.data for content in scenes.dataset.contents()}
    model = scenes.encoder.model
    for sample, score in list(zip(found.samples, found.scores, strict=True))[:8]:
        from open_clip import tokenizer

        pixels = scenes.encoder.preprocess(media[sample.content_id])[None]
        with torch.no_grad():
            ids = tokenizer.tokenize([sample.text], context_length=model.context_length)
            expected = model.encode_image(pixels, normalize=True) @ model.encode_text(ids, normalize=True).T
        assert score == pytest.approx(float(expected), abs=1e-4)
    wrong = [score for sample, score in zip(found.samples, found.scores, strict=True) if sample.text in scenes.wrong]
    right = [
        score for sample, score in zip(found.samples, found.scores, strict=True) if sample.text not in scenes.wrong
    ]
    assert np.mean(wrong) < np.mean(right) - 0.1 and len(wrong) >= 10


def test_known_scores_are_not_computed_again(scenes, tmp_path):
    """A second call asks for no encoder; one changed text asks for one text only; another encoder has its own."""
    known = KnownScores(tmp_path)
    first = scored(scenes, known)
    assert first.computed == len({(s.content_id, s.text) for s in scenes.dataset.samples()})

    def refused():
        raise AssertionError("asked for the encoder")

    again = score_samples(scenes.dataset.samples(), scenes.store, refused, known)
    assert again.computed == 0 and np.array_equal(again.scores, first.scores)
    from dataclasses import replace

    changed = [replace(scenes.dataset.samples()[0], text="a text that nobody has seen"), *scenes.dataset.samples()[1:]]
    one = scored(scenes, known, changed)
    assert (one.computed, one.texts) == (1, 1) and np.array_equal(one.scores[1:], first.scores[1:])
    assert scored(scenes, KnownScores(tmp_path / "other")).computed == first.computed


def test_contents_without_latents_have_no_score_and_stay(scenes, tmp_path):
    """A content that could not be encoded is nobody's to refuse: NaN, then null in the table, and kept."""
    from dataclasses import replace

    lost = replace(scenes.dataset.samples()[0], content_id="0" * 32)
    found = scored(scenes, KnownScores(tmp_path / "known"), [lost, *scenes.dataset.samples()[1:]])
    assert np.isnan(found.scores[0]) and np.isfinite(found.scores[1:]).all()
    options = PairOptions(keep={"caption": {"keep_top_fraction": 0.01}}, splits=list(Split))
    write_pairs(tmp_path / "pairs", {Modality.IMAGE: found}, {Modality.IMAGE: "e"}, options, {"dataset": "d"})
    row = read_pairs(tmp_path / "pairs").to_pylist()[0]
    assert row["score"] is None and row["kept"]


def test_the_top_fraction_stays_and_the_others_are_left_out_with_a_reason(scenes, tmp_path):
    """Of train, by score; val and test whole. Each stands in the ledger, typed, with its score; most that go are wrong
    captions; dataset and ingest ledger are the same files as before."""
    before = file_digests(scenes.workspace / "dataset") | file_digests(scenes.workspace / "ledger")
    folder, counts, path = written(scenes, tmp_path, keep={"caption": {"keep_top_fraction": 0.75}})
    train = scenes.dataset.samples(Split.TRAIN)
    gone = left_out_ids(folder)
    assert len(gone) == len(train) - int(np.ceil(0.75 * len(train)))
    table = read_pairs(folder).to_pylist()
    worst = sorted((row["score"], row["sample_id"]) for row in table if row["split"] == "train")[: len(gone)]
    assert {sample_id for _, sample_id in worst} == gone
    texts = {sample.sample_id: sample.text for sample in train}
    assert sum(texts[sample_id] in scenes.wrong for sample_id in gone) >= 0.6 * len(gone)
    rows = left_out_rows(folder).to_pylist()
    assert {(row["fate"], row["reason"]) for row in rows} == {("quarantined", "low_alignment")}
    assert {row["sample_id"] for row in rows} == gone and all("cosine" in row["detail"] for row in rows)
    by_split = {count.split: count for count in counts}
    assert by_split["val"].left_out == by_split["test"].left_out == 0 and by_split["train"].left_out == len(gone)
    lowest = min(row["score"] for row in table if row["kept"] and row["split"] == "train")
    assert by_split["train"].threshold == pytest.approx(lowest)
    assert file_digests(path.parent) | file_digests(path.parent.parent / "ledger") == before


def test_min_score_and_splits(scenes, tmp_path):
    """A threshold keeps what reaches it, in every split that is named."""
    folder, _, _ = written(scenes, tmp_path, keep={"caption": {"min_score": 0.5}}, splits=["train", "test"])
    for row in read_pairs(folder).to_pylist():
        assert row["kept"] == (row["score"] >= np.float32(0.5) or row["split"] == "val")


def test_the_dataset_is_seen_without_them(scenes, tmp_path):
    """By samples and contents; a score-only table leaves the dataset whole and no trace in what training depends on."""
    folder, _, path = written(scenes, tmp_path, keep={"caption": {"keep_top_fraction": 0.5}})
    whole, seen = open_dataset(path), open_dataset(path, folder)
    gone = left_out_ids(folder)
    assert [s for s in whole.samples() if s.sample_id not in gone] == seen.samples() and gone
    assert set(seen.content_ids(Modality.IMAGE)) == {sample.content_id for sample in seen.samples()}
    assert seen.info.fingerprint == whole.info.fingerprint
    assert left_out_of(whole) == {} and set(left_out_of(seen)) == {"left_out"}
    everything, _, _ = written(scenes, tmp_path)
    assert left_out_of(open_dataset(path, everything)) == {}
    assert reopen_dataset(path, left_out_of(seen)["left_out"]).samples() == seen.samples()
    with pytest.raises(DatasetError, match="are gone"):
        reopen_dataset(path, "0" * 16)


def test_a_filter_is_part_of_what_a_training_depends_on(scenes, tmp_path):
    """Another fraction is another training; no filter is the training that it was before there were filters."""
    from multimodal.training.options import DecoderOptions, SamplerOptions, TokenizerOptions, TrainOptions

    job = TrainJob(TokenizerOptions(), DecoderOptions(), TrainOptions(), SamplerOptions())
    plans = []
    for fraction in (0.5, 0.6):
        folder, _, path = written(scenes, tmp_path, keep={"caption": {"keep_top_fraction": fraction}})
        plans.append(plan_train(job, "fp", {}, left_out_of(open_dataset(path, folder))))
    assert plans[0] != plans[1]
    assert "left_out" not in plan_train(job, "fp", {})


def test_the_ledger_counts_and_lists_them(scenes, tmp_path):
    """Kept rows turn into quarantined ones with their reason; the sum of all rows stays."""
    folder, _, path = written(scenes, tmp_path, keep={"caption": {"keep_top_fraction": 0.5}})
    ledger, rows = path.parent.parent / "ledger" / path.name, left_out_rows(folder)
    before = {(c.fate, c.reason): c.rows for c in count_rows(ledger)}
    after = {(c.fate, c.reason): c.rows for c in count_rows(ledger, rows)}
    assert sum(before.values()) == sum(after.values())
    assert after["quarantined", "low_alignment"] == len(rows) == before["kept", ""] - after["kept", ""]
    listed, total = find_rows(ledger, reason="low_alignment", left_out=rows)
    assert total == len(rows) and {row.sample_id for row in listed} == left_out_ids(folder)
    assert all(row.detail.startswith("the text's cosine") for row in listed)
    assert count_rows(ledger, left_out_rows(written(scenes, tmp_path)[0])) == count_rows(ledger)


def test_a_samples_own_score_and_rank(scenes, tmp_path):
    """The worst of train is above none and says why it is left out; the best is above all others."""
    folder, _, path = written(scenes, tmp_path, keep={"caption": {"keep_top_fraction": 0.5}})
    rows = sorted((r for r in read_pairs(folder).to_pylist() if r["split"] == "train"), key=lambda r: r["score"])
    (worst,) = scores_of(path.parent.parent, path.name, rows[0]["sample_id"])
    (best,) = scores_of(path.parent.parent, path.name, rows[-1]["sample_id"])
    assert worst.share_below == 0 and worst.why.endswith("which are the keep_top_fraction of 0.5")
    assert best.share_below == pytest.approx(1 - 1 / len(rows)) and best.why == ""
    assert scores_of(path.parent.parent, path.name, "unknown") == []


def test_damage_is_found(scenes, tmp_path):
    """A row that was put back by hand is no longer what the index and the ledger say."""
    folder, _, _ = written(scenes, tmp_path, keep={"caption": {"keep_top_fraction": 0.5}})
    assert all(not found.differences for found in verify(folder))
    part = next(folder.glob("part-*.parquet"))
    table = pq.read_table(part)
    pq.write_table(table.set_column(table.column_names.index("kept"), "kept", [[True] * len(table)]), part)
    (found,) = verify(folder)
    assert len(found.differences) == 3


def test_an_unfinished_table_or_one_of_another_dataset_is_refused(scenes, tmp_path):
    """Rather than training on what nobody chose."""
    folder, _, path = written(scenes, tmp_path, keep={"caption": {"keep_top_fraction": 0.5}})
    (tmp_path / "other").mkdir()
    shutil.copytree(path, tmp_path / "other" / "dataset")
    with pytest.raises(DatasetError, match="are of dataset"):
        FilteredDataset(tmp_path / "other" / "dataset", folder)
    (folder / INDEX).unlink()
    with pytest.raises(DatasetError, match="no pair scores"):
        FilteredDataset(path, folder)
    assert read_index(folder) is None


def test_encoders_say_whether_they_have_a_text_side(scenes):
    """CLIP has one; the speech encoder has none, and says so when it is asked for texts all the same."""
    speech = build_encoder(EncoderOptions(kind="whisper", weights=str(ROOT / "data/encoders/audio")), Modality.AUDIO)
    assert scenes.encoder.has_text_side and not speech.has_text_side
    with pytest.raises(EncoderError, match="no text tower"):
        speech.embed_texts(["a text"])


@pytest.mark.parametrize(
    ("keep", "problem"),
    [
        ({"caption": {}}, "name keep_top_fraction, min_score, or both"),
        ({"denoise": {"min_score": 0.2}}, "'denoise' reads text"),
        ({"caption": {"keep_top_fraction": 0}}, "greater than 0"),
        ({"caption": {"min_scor": 0.2}}, "did you mean 'min_score'"),
    ],
)
def test_wrong_options_say_what_is_wrong(keep, problem):
    """Before any work."""
    with pytest.raises(ValidationError, match=problem):
        PairOptions(keep=keep)
