"""Packing a model that was trained further on data of fewer modalities."""

from pathlib import Path

import pytest

from flows.encode import EncodedDataset
from flows.register import make_package
from multimodal.config import PipelineConfig
from multimodal.encoders.options import EncodeOptions
from multimodal.errors import CheckpointError
from multimodal.ingest import ingest
from multimodal.latents import LatentsInfo
from multimodal.sample import Modality
from multimodal.training.job import TrainResult
from tests.small_model import load_all_encoders, small_checkpoint


def test_encoders_of_earlier_data_are_packed(tmp_path: Path) -> None:
    """The new data are texts; the model still reads pictures and sound, by encoders that must have weights."""
    encode, encoders = load_all_encoders(tmp_path)
    for modality, encoder in encoders.items():
        encoder.save(tmp_path / "encoders" / modality)
    saved = {
        str(modality): encode.of(modality).model_dump(mode="json", exclude={"model"})
        | {"weights": str(tmp_path / "encoders" / modality)}
        for modality in Modality
    }
    sizes = {modality: encoder.hidden_size for modality, encoder in encoders.items()}
    checkpoint = small_checkpoint(tmp_path / "checkpoint", sizes)
    (tmp_path / "denoise.tsv").write_text("input\ttext\n" + "".join(f"nosy {i}\tnoisy {i}\n" for i in range(30)))
    source = {"name": "denoise", "path": str(tmp_path / "denoise.tsv"), "task": "denoise"}
    config = PipelineConfig.model_validate(
        {"name": "tuned", "workspace": tmp_path / "workspace", "ingest": {"sources": [source]}, "encode": saved}
    )
    dataset = ingest(config.ingest, seed=0, workspace=config.workspace)
    encoded = EncodedDataset((LatentsInfo(Modality.TEXT, tmp_path, "fp", sizes[Modality.TEXT], 30),))
    trained = TrainResult(tmp_path, checkpoint, "fp", 1, 0.5, 1.0, 1, {})
    package = make_package(config, dataset, encoded, config.encode, trained)
    assert {path.name for path in (package.path / "encoders").iterdir()} == {"image", "audio", "text"}
    fresh = EncodeOptions.model_validate({**saved, "audio": {"kind": "whisper", "model": str(tmp_path / "audio.json")}})
    with pytest.raises(CheckpointError, match=r"reads audio, but no audio encoder is given: encode\.audio"):
        make_package(config, dataset, encoded, fresh, trained)
