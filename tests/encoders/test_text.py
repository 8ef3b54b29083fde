"""The text encoder: bytes in, states out, whatever the length and company; weights that cannot be had fail fast."""

import json
import random
import time
from pathlib import Path

import pytest
import torch

from multimodal.encoders import build_encoder
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.pretraining.options import PretrainOptions
from multimodal.encoders.pretraining.text import BLANK, dataset_pairs, edit_targets, pretrain_text, score_denoising
from multimodal.encoders.text import average_neighbours, build_text_encoder
from multimodal.errors import EncoderError, MediaError
from multimodal.sample import Modality, Sample, Split, Task
from multimodal.storage import Storage
from multimodal.synthetic.noise import add_noise

TEXTS = ("a red star", "turn off the lamp in the kitchen please", "naïve café")


@pytest.fixture(scope="module")
def architecture(tmp_path_factory):
    """The JSON of a tiny T5 encoder."""
    path = tmp_path_factory.mktemp("model") / "tiny.json"
    sizes = {"vocab_size": 300, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    path.write_text(json.dumps(sizes))
    return path


def encoder_of(architecture: Path, **values):
    return build_text_encoder(EncoderOptions(kind="bytes", model=str(architecture), **values))


def test_the_storage_is_part_of_the_fingerprint(architecture):
    """float16 leaves it as it was before there was a choice; every storage has its own."""
    options = EncoderOptions(kind="bytes", model=str(architecture))
    found = {}
    for storage in Storage:
        encoder = build_encoder(options.model_copy(update={"storage": storage}), Modality.TEXT)
        assert encoder.storage is storage
        found[storage] = encoder.fingerprint
    assert found[Storage.FLOAT16] == build_text_encoder(options).fingerprint
    assert len(set(found.values())) == len(Storage)


@pytest.mark.parametrize("downsample", [1, 2, 3])
def test_batch_of_one_equals_row_of_batch(architecture, downsample):
    """A text's states do not depend on the texts beside it."""
    encoder = encoder_of(architecture, downsample=downsample)
    batch = [encoder.preprocess(text.encode()) for text in TEXTS]
    together = encoder.encode(batch)
    for row, ids in enumerate(batch):
        alone = encoder.encode([ids])
        length = -(-len(ids) // downsample)
        assert together.attention_mask[row].sum() == length == alone.hidden_states.shape[1]
        torch.testing.assert_close(together.hidden_states[row, :length], alone.hidden_states[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.pooled[row], alone.pooled[0], rtol=1e-4, atol=1e-5)


def test_one_state_per_byte_and_one_for_the_end(architecture):
    """Bytes are counted, not characters."""
    encoder = encoder_of(architecture)
    assert encoder.preprocess("é".encode()).tolist() == [0xC3 + 3, 0xA9 + 3, 1]
    assert encoder.encode([encoder.preprocess("é".encode())]).hidden_states.shape == (1, 3, encoder.hidden_size)


def test_pooled_is_the_mean_of_the_real_states(architecture):
    """Padding takes no part in the pooled vector."""
    encoder = encoder_of(architecture)
    output = encoder.encode([encoder.preprocess(text.encode()) for text in TEXTS])
    real = output.hidden_states[0][output.attention_mask[0]]
    torch.testing.assert_close(output.pooled[0], real.mean(0))


def test_neighbours_are_averaged_without_padding():
    """Five states, two of them padding, averaged by two: a mean of two, a lone one, and padding."""
    states = torch.arange(5.0).view(1, 5, 1)
    means, mask = average_neighbours(states, torch.tensor([[True, True, True, False, False]]), 2)
    assert means.flatten().tolist() == [0.5, 2.0, 0.0]
    assert mask.tolist() == [[True, True, False]]


@pytest.mark.parametrize(("data", "reason"), [(b"\xff\xfe", "invalid_utf8"), (b" \n", "empty_text")])
def test_bad_text_has_a_reason(architecture, data, reason):
    """Bytes that are no text raise MediaError with a reason that the ledger knows."""
    with pytest.raises(MediaError) as raised:
        encoder_of(architecture).preprocess(data)
    assert raised.value.reason == reason


def test_saved_encoder_comes_back_with_its_fingerprint(architecture, tmp_path):
    """Saving and loading changes neither states nor fingerprint, and leaves no pickle."""
    encoder = encoder_of(architecture)
    encoder.save(tmp_path / "text")
    again = build_text_encoder(EncoderOptions(kind="bytes", weights=str(tmp_path / "text")))
    assert again.fingerprint == encoder.fingerprint
    assert sorted(path.name for path in (tmp_path / "text").iterdir()) == ["config.json", "model.safetensors"]
    ids = [encoder.preprocess(TEXTS[0].encode())]
    torch.testing.assert_close(again.encode(ids).hidden_states, encoder.encode(ids).hidden_states)


def test_fingerprint_follows_weights_and_downsampling(architecture):
    """Whatever changes the latents changes the fingerprint."""
    seeds = [encoder_of(architecture, pretrain=PretrainOptions(seed=seed)).fingerprint for seed in (0, 0, 1)]
    assert seeds[0] == seeds[1] != seeds[2]
    assert encoder_of(architecture, downsample=2).fingerprint != seeds[0]


@pytest.mark.parametrize("name", ["google/byt5-small", "data/encoders/none/text", "./nowhere"])
def test_unreachable_weights_fail_fast_and_say_what_to_do(monkeypatch, name):
    """A hub that does not answer and a folder that is not there end in under five seconds with a cure."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub.invalid")
    started = time.monotonic()
    with pytest.raises(EncoderError, match=r"data/encoders/text|multimodal pretrain"):
        build_text_encoder(EncoderOptions(kind="bytes", weights=name))
    assert time.monotonic() - started < 5


def test_wrong_architecture_files_are_named(tmp_path):
    """No file, and a vocabulary without room for the bytes, are configuration mistakes with a cure."""
    with pytest.raises(EncoderError, match=r"conf/models/sample-text\.json"):
        build_text_encoder(EncoderOptions(kind="bytes"))
    (tmp_path / "small.json").write_text('{"vocab_size": 64, "d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 16}')
    with pytest.raises(EncoderError, match="at least 259 ids"):
        build_text_encoder(EncoderOptions(kind="bytes", model=str(tmp_path / "small.json")))


def test_edit_targets_rebuild_the_clean_text():
    """What hangs on the noisy bytes, read in order, is the clean text (gaps of at most one letter)."""
    rng = random.Random(0)
    for clean in ("please open the gate", "a large green heart", "café"):
        noisy = add_noise(clean, rng, 0.1)
        classes = [code for slots in edit_targets(noisy.encode(), clean.encode()) for code in slots]
        assert bytes(code for code in classes if code != BLANK).decode() == clean


def sample_of(task: Task, text: str, given: str = "") -> Sample:
    return Sample("id", "content", Modality.TEXT, task, Split.TRAIN, "group", "source", "uri", text, given)


def test_pairs_of_a_dataset_are_its_own_and_noisy_ones():
    """Noisy -> clean rows are drawn as they are; every clean text also comes with fresh noise; long texts do not."""
    natural = sample_of(Task.DENOISE, "which one", "which no wow which one")
    draw = dataset_pairs([natural, sample_of(Task.RESTYLE, "hello", "hi there"), sample_of(Task.CAPTION, "dog " * 99)])
    rng = random.Random(0)
    pairs = {draw(rng) for _ in range(200)}
    assert (natural.input, natural.text) in pairs
    assert {clean for _, clean in pairs} == {"which one", "hello", "hi there"}
    assert any(noisy not in (clean, natural.input) for noisy, clean in pairs)


def test_a_dataset_without_letters_cannot_be_learnt_from():
    """No usable text is an error that says what to do."""
    with pytest.raises(EncoderError, match="set `weights`"):
        dataset_pairs([sample_of(Task.CAPTION, "12 34")])


def test_pretraining_learns_to_copy(architecture):
    """A few steps on three texts make their noisy versions readable, and leave weights that float16 holds."""

    def source(rng: random.Random) -> tuple[str, str]:
        clean = rng.choice(("red star", "blue ring", "lamp on"))
        return add_noise(clean, rng, 0.05), clean

    options = PretrainOptions(steps=160, batch_size=16, learning_rate=3e-3, warmup_steps=10)
    logged: list[int] = []
    trained = pretrain_text(
        EncoderOptions(kind="bytes", model=str(architecture), pretrain=options),
        source,
        log=lambda step, values: logged.append(step),
    )
    score = score_denoising(trained, source, count=100, seed=1)
    assert logged == [100, 160] and trained.steps == 160
    assert score.after < score.before
    assert all(torch.equal(tensor, tensor.half().float()) for tensor in trained.encoder.model.state_dict().values())
