"""Weights come from safetensors; pickles are refused, or read for their tensors only, and never run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from multimodal.encoders import build_encoder
from multimodal.encoders.base import Encoder
from multimodal.encoders.masked_lm import load_masked_language_model
from multimodal.encoders.options import EncoderOptions
from multimodal.errors import EncoderError
from multimodal.sample import Modality
from tests.encoders.test_audio import build as build_audio
from tests.encoders.test_audio import sound
from tests.encoders.test_image import TINY
from tests.encoders.test_image import build as build_image
from tests.encoders.test_vision import saved as saved_vision


class Malicious:
    """A pickle that leaves a file when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.trace,)


def vision(folder: Path) -> EncoderOptions:
    return EncoderOptions(kind="transformers", weights=str(saved_vision("siglip", folder)), device="cpu")


def speech(folder: Path) -> EncoderOptions:
    build_audio(folder.parent, "hubert").save(folder)
    return EncoderOptions(kind="wav2vec2", weights=str(folder), device="cpu")


def text(folder: Path) -> EncoderOptions:
    config = transformers.T5Config(vocab_size=300, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    transformers.T5EncoderModel(config).save_pretrained(folder)
    return EncoderOptions(kind="bytes", weights=str(folder), device="cpu")


MAKERS: dict[Modality, Callable[[Path], EncoderOptions]] = {
    Modality.IMAGE: vision,
    Modality.AUDIO: speech,
    Modality.TEXT: text,
}


def allowing(options: EncoderOptions) -> EncoderOptions:
    return options.model_copy(update={"allow_pickle": True})


def pickled(folder: Path, content: Callable[[dict[str, torch.Tensor]], Any] = dict) -> Path:
    """Put pytorch_model.bin in the place of model.safetensors, as old repositories have it."""
    path = folder / "pytorch_model.bin"
    torch.save(content(load_file(folder / "model.safetensors")), path)
    (folder / "model.safetensors").unlink()
    return path


@pytest.mark.parametrize("modality", MAKERS)
def test_a_folder_with_a_pickle_is_refused_unless_it_is_allowed(tmp_path: Path, modality: Modality) -> None:
    """The refusal names the file and both cures; allowed, the very same encoder comes out of it."""
    options = MAKERS[modality](tmp_path / "model")
    before = build_encoder(options, modality)
    pickled(tmp_path / "model")
    with pytest.raises(EncoderError, match=r"pytorch_model\.bin is not safetensors.*convert.*allow_pickle: true"):
        build_encoder(options, modality)
    after = build_encoder(allowing(options), modality)
    assert after.fingerprint == before.fingerprint and after.weights_sha256 == before.weights_sha256


@pytest.mark.parametrize("modality", MAKERS)
def test_where_there_are_safetensors_a_pickle_beside_them_is_not_read(tmp_path: Path, modality: Modality) -> None:
    """Not even if it is allowed: both hold the same, and one of them cannot do harm."""
    options = MAKERS[modality](tmp_path / "model")
    torch.save(Malicious(tmp_path / "trace"), tmp_path / "model" / "pytorch_model.bin")
    for chosen in (options, allowing(options)):
        assert isinstance(build_encoder(chosen, modality), Encoder)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("modality", MAKERS)
@pytest.mark.parametrize("hidden", ["alone", "among weights"])
def test_a_malicious_pickle_never_runs(tmp_path: Path, modality: Modality, hidden: str) -> None:
    """In neither setting; the file itself would do it, as plain unpickling shows."""
    options = MAKERS[modality](tmp_path / "model")
    trace = tmp_path / "trace"
    evil = Malicious(trace)
    path = pickled(tmp_path / "model", lambda state: evil if hidden == "alone" else {**state, "evil": evil})
    with pytest.raises(EncoderError, match="which can run code"):
        build_encoder(options, modality)
    with pytest.raises(EncoderError, match="more than tensors, or is damaged; nothing in it was run") as refused:
        build_encoder(allowing(options), modality)
    assert "weights_only=False" not in str(refused.value)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()


def open_clip_checkpoint(
    folder: Path, content: Callable[[dict[str, torch.Tensor]], Any]
) -> tuple[Encoder, EncoderOptions]:
    """A tower, and options that name its weights in a .pt file as open_clip's training writes it."""
    encoder = build_image(TINY, folder)  # writes model.json
    torch.save(content(encoder.model.state_dict()), folder / "epoch_1.pt")
    options = EncoderOptions(kind="open_clip", model=str(folder / "model.json"), weights=str(folder / "epoch_1.pt"))
    return encoder, options


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_open_clip_checkpoint_is_read_where_pickles_are_allowed(tmp_path: Path, wrapped: bool) -> None:
    """Alone, or as `state_dict` beside epoch and name with the prefix of distributed training."""

    def content(state: dict[str, torch.Tensor]) -> Any:
        named = {f"module.{name}": tensor for name, tensor in state.items()}
        return {"epoch": 1, "name": "run", "state_dict": named} if wrapped else state

    encoder, options = open_clip_checkpoint(tmp_path, content)
    with pytest.raises(EncoderError, match=r"epoch_1\.pt is not safetensors but a pickle"):
        build_encoder(options, Modality.IMAGE)
    loaded = build_encoder(allowing(options), Modality.IMAGE)
    assert loaded.fingerprint == encoder.fingerprint


def test_a_malicious_open_clip_checkpoint_never_runs(tmp_path: Path) -> None:
    """In a file, and in the place where open_clip itself looks in a folder."""
    trace = tmp_path / "trace"
    encoder, options = open_clip_checkpoint(tmp_path, lambda state: {"state_dict": state, "note": Malicious(trace)})
    encoder.save(tmp_path / "folder")
    (tmp_path / "folder" / "open_clip_model.safetensors").unlink()
    shutil.copy(tmp_path / "epoch_1.pt", tmp_path / "folder" / "open_clip_pytorch_model.bin")
    folder = EncoderOptions(kind="open_clip", weights=str(tmp_path / "folder"))
    for named, modality in ((options, Modality.IMAGE), (folder, Modality.IMAGE), (folder, Modality.TEXT)):
        with pytest.raises(EncoderError, match="which can run code"):
            build_encoder(named, modality)
        with pytest.raises(EncoderError, match="more than tensors"):
            build_encoder(allowing(named), modality)
    assert not trace.exists()


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": {"weight": 1.0}}, {}])
def test_a_checkpoint_without_a_table_of_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    """It is no pickle of weights, whatever it is."""
    _, options = open_clip_checkpoint(tmp_path, lambda state: content)
    with pytest.raises(EncoderError, match="no table of tensors"):
        build_encoder(allowing(options), Modality.IMAGE)


@pytest.mark.parametrize("modality", MAKERS)
def test_damaged_and_incomplete_safetensors_are_errors_and_not_random_weights(
    tmp_path: Path, modality: Modality
) -> None:
    """transformers would fill in what is missing with random numbers and a warning."""
    options = MAKERS[modality](tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    state = load_file(path)
    dropped = sorted(state)[0]
    save_file({name: tensor for name, tensor in state.items() if name != dropped}, path, metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"lacks \d+ weights of .*they would stay random"):
        build_encoder(options, modality)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(EncoderError, match="does not load"):
        build_encoder(options, modality)


@pytest.mark.parametrize("name", ["hubert", "wavlm", "wav2vec2 group"])
def test_weights_under_their_old_names_are_found(tmp_path: Path, name: str) -> None:
    """Published checkpoints are older than torch's parametrizations, and some lack what pretraining alone reads."""
    encoder = build_audio(tmp_path, name)
    encoder.save(tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = {}
    for key, tensor in load_file(path).items():
        for new_name, old_name in old.items():
            key = key.replace(new_name, old_name)
        if not key.endswith("masked_spec_embed"):
            state[key] = tensor
    assert sum(key.endswith(("weight_g", "weight_v")) for key in state) == 2
    save_file(state, path, metadata={"format": "pt"})
    loaded = build_encoder(
        EncoderOptions(kind="wav2vec2", weights=str(tmp_path / "model"), device="cpu"), Modality.AUDIO
    )
    clip = [encoder.preprocess(sound(0.5))]
    assert torch.equal(loaded.encode(clip).hidden_states, encoder.encode(clip).hidden_states)


def test_the_backbone_of_a_decoder_is_held_to_the_same(tmp_path: Path) -> None:
    """`train.init_backbone` takes no pickle either."""
    config = transformers.ModernBertConfig(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    transformers.ModernBertModel(config).save_pretrained(tmp_path / "model")
    assert load_masked_language_model(str(tmp_path / "model")).weights
    pickled(tmp_path / "model")
    with pytest.raises(EncoderError, match=r"train\.init_backbone: .*pytorch_model\.bin is not safetensors"):
        load_masked_language_model(str(tmp_path / "model"))


def test_code_in_a_repository_is_not_run(tmp_path: Path) -> None:
    """A config that names its own Python classes is refused without a question to the terminal."""
    options = vision(tmp_path / "model")
    (tmp_path / "model" / "evil.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')\n")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    path.write_text(json.dumps(config))
    with pytest.raises(EncoderError, match="image encoder"):
        build_encoder(options, Modality.IMAGE)
    assert not (tmp_path / "trace").exists()
