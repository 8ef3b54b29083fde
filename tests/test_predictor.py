"""Rows of all tasks through real encoders and a real decoder with random weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from multimodal.errors import EncoderError, RequestError
from multimodal.latents import LatentStore, LatentWriter
from multimodal.package import load_predictor, write_package
from multimodal.predictor import Prediction, Row, decode_base64
from multimodal.sample import Modality
from multimodal.storage import Storage
from multimodal.training.options import SamplerOptions
from tests.small_model import load_all_encoders, picture, small_checkpoint, sound

pytest_plugins = ("tests.mlflow_fixtures",)

GOOD = [
    Row("caption", data=picture("red")),
    Row("transcribe", data=sound(0.4)),
    Row("denoise", text="a smal red ciircle"),
    Row("infill", text="a ___ red ___"),
    Row("restyle", text="a small red circle", style="informal"),
]


@pytest.fixture(scope="module")
def predictor(small_package):
    return load_predictor(small_package.path, "cpu")


def test_every_task_is_answered_in_order(predictor):
    """Each row gets a text with one confidence per token, and infill keeps the given words around its gaps."""
    answers = predictor.predict(GOOD)
    assert [answer.error for answer in answers] == [""] * 5
    assert all(0 <= answer.confidence <= 1 and answer.nfe >= 1 for answer in answers)
    assert all(len(answer.tokens) == len(answer.token_confidences) for answer in answers)
    assert answers[3].text.startswith("a") and "red" in answers[3].text and len(answers[3].filled) == 2


@pytest.mark.parametrize("storage", Storage)
def test_latents_are_those_of_the_store(predictor, storage, tmp_path, monkeypatch):
    """A model reads in service what it has read in training, rounding included."""
    encoder = predictor.encoders[Modality.TEXT]
    monkeypatch.setattr(encoder, "storage", storage)
    inputs = encoder.preprocess(b"a smal red ciircle")
    output = encoder.encode([inputs])
    with LatentWriter(tmp_path, "fp", encoder.hidden_size, storage=storage) as writer:
        writer.add("id", output.hidden_states[0].numpy(), output.pooled[0].numpy())
    ((_, states, _, _),) = predictor._encode(Modality.TEXT, {0: inputs})
    np.testing.assert_array_equal(states, LatentStore(tmp_path).get("id").astype(np.float32))


def test_bad_rows_say_what_is_wrong_and_leave_the_others_alone(predictor, tmp_path):
    """Between good rows, every kind of bad row has its own message and the good rows' texts do not change."""
    bad = {
        Row("draw", text="x"): "unknown task 'draw'; the tasks are caption, transcribe",
        Row(""): "unknown task ''",
        Row("caption"): "caption needs a 'path', 'bytes' or 'base64' of its image; the row holds none",
        Row("caption", path="a.png", data=b"x"): "the row holds path and bytes",
        Row("caption", path=str(tmp_path / "none.png")): "none.png",
        Row("caption", path=str(tmp_path)): "cannot read",
        Row("caption", path="a\0b"): "cannot read",
        Row("caption", data=picture("red")[:60]): "image",
        Row("transcribe", data=b"RIFF no sound"): "no sound of a known format",
        Row("caption", data=b""): "0 bytes",
        Row("denoise"): "denoise needs a 'text'",
        Row("denoise", text="  "): "empty",
        Row("denoise", data=b"\xff\xfe"): "not UTF-8",
        Row("infill", text="no gap here"): "at least one gap '___'",
        Row("infill", text="___ " + "word " * 80): "room for 48",
        Row("restyle", text="hello"): "restyle needs a 'style'; the model knows formal, informal",
        Row("restyle", text="hello", style="rude"): "unknown style 'rude'",
    }
    bad |= {
        Row("denoise", text="a", hint="b"): "not trained with a hint beside its input; it reads nothing there",
        Row("denoise", text="a", picture_data=picture("red")): "not trained with a picture",
        Row("denoise", text="a", picture="p.png", picture_data=b"x"): "its picture twice",
    }
    mixed = [row for pair in zip(bad, GOOD * 4, strict=False) for row in pair]
    answers = predictor.predict(mixed)
    for row, answer in zip(bad, answers[::2], strict=True):
        assert bad[row] in answer.error, (row, answer.error)
        assert answer == Prediction(error=answer.error)
    alone = [answer.text for answer in predictor.predict(GOOD)]
    assert [answer.text for answer in answers[1::2]] == (alone * 4)[: len(bad)]


def test_files_are_read_unless_paths_are_refused(predictor, tmp_path):
    """A path gives the same text as the file's bytes; a server that reads no files names the cure."""
    path = tmp_path / "red.png"
    path.write_bytes(picture("red"))
    by_path, by_bytes = predictor.predict([Row("caption", path=str(path)), GOOD[0]])
    assert by_path == by_bytes
    (refused,) = predictor.predict([Row("caption", path=str(path))], allow_paths=False)
    assert "send 'base64'" in refused.error


def test_a_drawn_text_depends_on_seed_and_content_not_on_the_neighbours(predictor):
    """With a temperature, the same row draws the same text in any batch, and another with another seed."""
    warm = predictor.sampler.model_copy(update={"temperature": 1.0, "seed": 1})
    alone = predictor.predict([GOOD[2]], warm)[0].text
    assert predictor.predict([*GOOD, GOOD[2]], warm)[-1].text == alone
    others = {predictor.predict([GOOD[2]], warm.model_copy(update={"seed": seed}))[0].text for seed in range(2, 6)}
    assert others - {alone}


def test_more_rows_than_fit_at_once_stay_in_order(predictor):
    """Three hundred rows, in several chunks, come back in their order."""
    rows = [Row("infill", text=f"w{number} ___") for number in range(300)]
    assert [answer.text.split()[0] for answer in predictor.predict(rows)] == [f"w{number}" for number in range(300)]


def test_no_rows_no_predictions(predictor):
    """An empty table is answered by an empty list."""
    assert predictor.predict([]) == []


def test_reference_text_of_a_media_row_is_ignored(predictor):
    """A manifest's own text column beside a picture does not disturb."""
    with_reference, without = predictor.predict([Row("caption", data=picture("red"), text="a red picture"), GOOD[0]])
    assert with_reference == without


def test_rows_survive_json():
    """A row with bytes is the same after a round trip through JSON."""
    for row in GOOD:
        assert Row.from_json(row.to_json()) == row


def test_base64_is_checked():
    """What is no base64 is refused with the cure; line breaks are fine."""
    assert decode_base64("aGVs\nbG8=") == b"hello"
    with pytest.raises(RequestError, match="no base64"):
        decode_base64("data:image/png;base64,aGVsbG8=")


def test_what_the_encoder_reads_is_the_draft_of_a_transcript(predictor, monkeypatch):
    """The decoder is handed the encoder's own reading of speech, and the text itself where that is to be edited."""
    audio, asked = predictor.encoders[Modality.AUDIO], []
    encode, generate = audio.encode, predictor.generator.generate
    monkeypatch.setattr(audio, "encode", lambda batch: replace(encode(batch), readings=("turn on",) * len(batch)))
    monkeypatch.setattr(
        predictor.generator, "generate", lambda requests, *rest: asked.extend(requests) or generate(requests, *rest)
    )
    assert all(not answer.error for answer in predictor.predict([GOOD[1], GOOD[2]]))
    assert [request.text for request in asked] == ["turn on", "a smal red ciircle"]


def test_hints_and_pictures_go_with_the_package(tmp_path):
    """Loaded from a package whose probe has both, a model reads them beside a clip, and not where there are none."""
    encode, encoders = load_all_encoders(tmp_path)
    sizes = {modality: encoder.hidden_size for modality, encoder in encoders.items()}
    checkpoint = small_checkpoint(tmp_path / "checkpoint", sizes, further=("hint", "picture"))
    clip = Row("transcribe", data=sound(0.4))
    both = replace(clip, hint="red  circle", picture_data=picture("red"))
    package = write_package(tmp_path / "packages", checkpoint, encoders, encode, SamplerOptions(), [both])
    (tmp_path / "red.png").write_bytes(picture("red"))
    from_file = replace(both, picture=str(tmp_path / "red.png"), picture_data=None)
    rows = [clip, replace(clip, hint="red circle"), replace(both, hint=""), both, from_file]
    predictor = load_predictor(package.path, "cpu")
    answers = predictor.predict(rows)
    assert [answer.error for answer in answers] == [""] * 5
    assert len({round(answer.confidence, 6) for answer in answers}) == 4
    assert answers[3].text == answers[4].text == predictor.predict([both])[0].text
    bad = replace(clip, picture_data=b"no picture")
    assert predictor.predict([bad])[0].error


def test_the_picture_chooses_among_candidates(predictor, monkeypatch):
    """With `rerank: clip` the caption is the candidate nearest to the picture by the encoder's own towers; a tower that
    cannot read texts is named."""
    options = predictor.sampler.overruled({"temperature": 2.0, "candidates": 6, "rerank": "clip"})
    row = Row("caption", data=picture("red"))
    with pytest.raises(EncoderError, match="no text tower"):
        predictor.predict([row], options)
    encoder = predictor.encoders[Modality.IMAGE]
    pooled = encoder.encode([encoder.preprocess(row.data)]).pooled[0]
    seen = []

    def embed(texts):
        seen.extend(texts)
        return torch.stack([pooled if text == seen[-1] else -pooled for text in texts])

    monkeypatch.setattr(predictor.generator, "embed_texts", embed)
    (answer,) = predictor.predict([row], options)
    assert len(set(seen)) > 1 and answer.text == seen[-1]
