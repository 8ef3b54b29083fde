"""What encoders state about themselves, on the interface, in the store's index and on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from multimodal.encoders import build_encoder
from multimodal.encoders.base import Encoder
from multimodal.encoders.options import EncodeOptions, EncoderOptions
from multimodal.latents import LatentStore, LatentWriter, read_card
from multimodal.sample import Modality
from multimodal.upkeep import list_stores
from tests.encoders.test_audio import sound
from tests.encoders.test_image import picture

SHIPPED = {
    Modality.IMAGE: ("open_clip", 1, "9b6ced577402ca82", "36 per picture"),
    Modality.AUDIO: ("whisper", 1, "962336200ed3cc7a", "40 per second"),
    Modality.TEXT: ("bytes", 2, "7ddf151194e5ae4e", "0.5 per byte"),
}
"""Modality -> kind, downsampling, fingerprint and tokens of the encoders in data/encoders."""

CONTENTS = {Modality.IMAGE: picture(size=(96, 96)), Modality.AUDIO: sound(2.0), Modality.TEXT: b"a red star"}


def shipped(modality: Modality, **values) -> Encoder:
    kind, downsample, _, _ = SHIPPED[modality]
    named = {"kind": kind, "weights": f"data/encoders/{modality}", "downsample": downsample, "device": "cpu"} | values
    return build_encoder(EncoderOptions(**named), modality)


@pytest.mark.parametrize("modality", SHIPPED)
def test_the_shipped_encoders_are_the_ones_they_were(modality: Modality) -> None:
    """Their fingerprints are the keys of latents in existing workspaces: a change would encode everything again."""
    encoder = shipped(modality)
    assert encoder.fingerprint == SHIPPED[modality][2]


@pytest.mark.parametrize("modality", SHIPPED)
def test_a_card_says_what_is_true(modality: Modality) -> None:
    """Widths and tokens are those of the output; both hashes are SHA-256."""
    encoder = shipped(modality)
    output = encoder.encode([encoder.preprocess(CONTENTS[modality])])
    card = encoder.card
    assert (card.hidden_size, card.pooled_size) == (output.hidden_states.shape[2], output.pooled.shape[1])
    assert card.tokens == SHIPPED[modality][3]
    amount = {"picture": 1, "second": 2.0, "byte": len(CONTENTS[modality]) + 1}[encoder.tokens.per]
    assert output.hidden_states.shape[1] == -(-encoder.tokens.count * amount // 1)
    assert all(len(value) == 64 and int(value, 16) for value in (card.preprocessing, card.weights))


def test_the_hash_of_the_weights_is_of_their_values(tmp_path: Path) -> None:
    """Neither the file's type nor its order of tensors matters; one changed number does."""
    before = shipped(Modality.TEXT)
    before.save(tmp_path / "text")
    path = tmp_path / "text" / "model.safetensors"
    state = {name: tensor.float() for name, tensor in load_file(path).items()}
    save_file(dict(reversed(state.items())), path, metadata={"format": "pt"})
    assert shipped(Modality.TEXT, weights=str(tmp_path / "text")).weights_sha256 == before.weights_sha256
    first = sorted(state)[0]
    state[first].view(-1)[0] += 1
    save_file(state, path, metadata={"format": "pt"})
    assert shipped(Modality.TEXT, weights=str(tmp_path / "text")).weights_sha256 != before.weights_sha256


def test_a_store_keeps_the_card(tmp_path: Path) -> None:
    """In its index, from the first finished shard on; `latents ls` shows it; stores from before have none."""
    encoder = shipped(Modality.TEXT)
    folder = tmp_path / "latents" / encoder.fingerprint
    with LatentWriter(folder, encoder.fingerprint, encoder.hidden_size) as writer:
        writer.add("one", torch.zeros(1, encoder.hidden_size).numpy(), torch.zeros(3).numpy())
    assert read_card(folder) == LatentStore(folder).card == {}
    assert list_stores(tmp_path)[0].card == {}
    with LatentWriter(folder, encoder.fingerprint, encoder.hidden_size, card=encoder.card.to_json()):
        pass
    assert read_card(folder) == LatentStore(folder).card == encoder.card.to_json()
    assert list_stores(tmp_path)[0].card["weights"] == encoder.weights_sha256
    assert "one" in LatentStore(folder)


def test_the_commands_show_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`multimodal latents ls` as table and as JSON, and the encode stage's table."""
    from flows.encode import EncodedDataset, describe
    from flows.latents import show_stores
    from multimodal.latents import LatentsInfo

    encoder = shipped(Modality.IMAGE)
    folder = tmp_path / "latents" / encoder.fingerprint
    with LatentWriter(folder, encoder.fingerprint, encoder.hidden_size, card=encoder.card.to_json()):
        pass
    show_stores(tmp_path, as_json=True)
    assert json.loads(capsys.readouterr().out)[0]["card"] == encoder.card.to_json()
    show_stores(tmp_path, as_json=False)
    table = capsys.readouterr().out
    assert "256 wide" in table and "36 per" in table
    info = LatentsInfo(Modality.IMAGE, folder, encoder.fingerprint, encoder.hidden_size, 0)
    row = describe(EncodedDataset((info,))).table[0]
    assert row["tokens"] == "36 per picture" and row["width"] == 256
    assert encoder.weights_sha256.startswith(str(row["weights"])) and len(str(row["weights"])) == 12
    assert encoder.preprocessing_hash.startswith(str(row["preprocessing"]))


def test_new_options_leave_the_stage_fingerprint_as_it_was() -> None:
    """At their defaults they are no part of it; cutting and trimming are where they are changed, permissions never."""
    from flows.encode import _parts

    plain = EncoderOptions(kind="whisper", weights="data/encoders/audio")
    assert not {"allow_pickle", "overlap", "trim_silence_db"} & set(_parts(plain))
    assert _parts(plain.model_copy(update={"allow_pickle": True})) == _parts(plain)
    assert _parts(plain.model_copy(update={"overlap": 0.25})) == _parts(plain) | {"overlap": 0.25}
    assert _parts(plain.model_copy(update={"trim_silence_db": 40.0})) == _parts(plain) | {"trim_silence_db": 40.0}


def test_contradictions_are_refused_before_any_work() -> None:
    """Silence of pictures, and towers that nobody trains here."""
    with pytest.raises(ValueError, match="trim_silence_db is about sound"):
        EncoderOptions(kind="open_clip", trim_silence_db=30)
    with pytest.raises(ValueError, match="open_clip text tower is not pretrained here"):
        EncodeOptions(text=EncoderOptions(kind="open_clip", model="ViT-B-32"))
    assert EncodeOptions(image=EncoderOptions(kind="open_clip", model="ViT-B-32")).image is not None
