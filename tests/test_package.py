"""The folder that a registered model consists of."""

import shutil

import pytest

from multimodal.encoders.options import EncodeOptions
from multimodal.errors import CheckpointError
from multimodal.package import changed_answers, load_predictor, read_package, write_package
from multimodal.sample import Modality, Task
from multimodal.verification import verify
from tests.small_model import load_all_encoders, small_checkpoint

pytest_plugins = ("tests.mlflow_fixtures",)


@pytest.fixture
def copy(small_package, tmp_path):
    return shutil.copytree(small_package.path, tmp_path / small_package.fingerprint)


def test_package_stands_alone(small_package, copy):
    """A copy elsewhere, with the original gone from its options, answers the probe as the original did."""
    package = read_package(copy)
    assert package.tasks == tuple(Task) and package.fingerprint == small_package.fingerprint == copy.name
    assert changed_answers(package, load_predictor(copy, "cpu")) == ()
    assert all(found.is_intact for found in verify(copy))
    assert str(small_package.path.parent) not in (copy / "index.json").read_text()


def test_package_holds_no_pickle_and_no_optimiser(small_package):
    """Only safetensors, JSON and what they need are inside."""
    files = [path for path in small_package.path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json"}
    assert not (small_package.path / "training").exists()


def test_encoders_come_back_as_they_were(small_package, tmp_path):
    """The fingerprints of the packed encoders are those of the encoders that made the latents."""
    _, encoders = load_all_encoders(tmp_path)
    for modality, encoder in load_predictor(small_package.path, "cpu").encoders.items():
        assert encoder.fingerprint == encoders[modality].fingerprint


@pytest.mark.parametrize("name", ["decoder.safetensors", "encoders/text/model.safetensors", "probe.json"])
def test_a_changed_file_refuses_to_load(copy, name):
    """One flipped byte in any file is found before the model is used, and the file is named."""
    data = bytearray((copy / name).read_bytes())
    data[-20] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=name):
        load_predictor(copy, "cpu")
    (found,) = verify(copy)
    assert (found.kind, [one.place for one in found.differences]) == ("package", [name])


def test_a_missing_file_refuses_to_load(copy):
    """A file that was lost is named."""
    (copy / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        load_predictor(copy, "cpu")


def test_an_unfinished_folder_is_no_package(copy):
    """Without the index, which is written last, there is no package."""
    (copy / "index.json").unlink()
    with pytest.raises(CheckpointError, match="no finished model package"):
        read_package(copy)


def test_same_parts_same_package_other_weights_another(small_package, tmp_path):
    """A package is written once for its parts; other decoder weights make another."""
    encode, encoders = load_all_encoders(tmp_path)
    sizes = {modality: encoder.hidden_size for modality, encoder in encoders.items()}
    checkpoint = small_checkpoint(tmp_path / "same", sizes)
    packages = [
        write_package(tmp_path / "packages", folder, encoders, encode, small_package.sampler)
        for folder in (checkpoint, checkpoint, small_checkpoint(tmp_path / "other", sizes, seed=1))
    ]
    assert packages[0] == packages[1] and packages[0].fingerprint == small_package.fingerprint
    assert packages[2].fingerprint != packages[0].fingerprint


def test_checkpoint_and_encoders_must_be_complete(small_package, tmp_path):
    """An unfinished checkpoint and a missing encoder are refused by name."""
    sampler = small_package.sampler
    with pytest.raises(CheckpointError, match=r"lacks decoder\.safetensors"):
        write_package(tmp_path, tmp_path / "none", {}, EncodeOptions(), sampler)
    checkpoint = small_checkpoint(tmp_path / "checkpoint", dict.fromkeys(Modality, 32))
    with pytest.raises(CheckpointError, match=r"encode\.audio"):
        write_package(tmp_path, checkpoint, {}, EncodeOptions(), sampler)
