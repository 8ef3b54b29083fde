"""Pictures with captions of which some belong to other pictures, encoded by the CLIP model that ships."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from multimodal.dataset import Dataset
from multimodal.encoders import build_encoder
from multimodal.encoders.base import Encoder
from multimodal.encoders.encode import encode_dataset
from multimodal.encoders.options import EncoderOptions
from multimodal.ingest import ingest
from multimodal.ingest.options import IngestOptions
from multimodal.latents import LatentStore
from multimodal.sample import Modality
from tests.conftest import ROOT

ROWS, SWAPPED = 60, 12
"""The first so many rows of the sample's scenes; of these the first so many have the next row's caption."""


@dataclass(frozen=True)
class Scenes:
    """An ingested and encoded workspace; `wrong` are the captions that belong to other pictures."""

    workspace: Path
    dataset: Dataset
    encoder: Encoder
    wrong: frozenset

    @property
    def store(self):
        return LatentStore(self.workspace / "latents" / self.encoder.fingerprint)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Read only: tests that change it work on copies of its parts."""
    workspace = tmp_path_factory.mktemp("pairs")
    lines = (ROOT / "data/sample/scenes.tsv").read_text().splitlines()
    head, rows = lines[0].split("\t"), [line.split("\t") for line in lines[1:]]
    path, text = head.index("path"), head.index("text")
    rows = list({row[path]: row for row in rows}.values())[:ROWS]
    captions = [row[text] for row in rows]
    captions[:SWAPPED] = captions[1 : SWAPPED + 1]
    paths = [str(ROOT / "data/sample" / row[path]) for row in rows]
    table = [["path", "text"], *zip(paths, captions, strict=True)]
    (workspace / "scenes.tsv").write_text("\n".join("\t".join(row) for row in table))
    source = {"name": "scenes", "path": str(workspace / "scenes.tsv"), "task": "caption"}
    options = IngestOptions.model_validate({"sources": [source], "splits": {"val": 0.2, "test": 0.2}})
    info = ingest(options, seed=0, workspace=workspace)
    options = EncoderOptions(kind="open_clip", weights=str(ROOT / "data/encoders/image"), downsample=2, device="cpu")
    encoder = build_encoder(options, Modality.IMAGE)
    dataset = Dataset(info.path)
    encode_dataset(dataset, Modality.IMAGE, encoder, workspace / "latents" / encoder.fingerprint)
    return Scenes(workspace, dataset, encoder, frozenset(captions[:SWAPPED]))
