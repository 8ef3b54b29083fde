"""An encoder whose states say which bytes they are of, and datasets of texts for it."""

from __future__ import annotations

import torch

from multimodal.dataset import Dataset, DatasetWriter, Fate, LedgerRow
from multimodal.encoders.base import Encoder, EncoderOutput
from multimodal.errors import MediaError
from multimodal.sample import Modality, Sample, Split, Task, content_digest, sample_digest


class LengthEncoder(Encoder):
    """One token per byte, whose states hold that byte; texts with `!` cannot be read."""

    modality, hidden_size, pooled_size, fingerprint = Modality.TEXT, 4, 2, "length-1"

    def __init__(self):
        self.seen, self.preprocessed = [], []

    def preprocess(self, data):
        self.preprocessed.append(data)
        if b"!" in data:
            raise MediaError("unreadable", "it shouts")
        return torch.tensor(list(data), dtype=torch.float32)

    def encode(self, batch):
        self.seen.append([len(row) for row in batch])
        padded = torch.nn.utils.rnn.pad_sequence(list(batch), batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in batch], batch_first=True) > 0
        states = padded[..., None].expand(-1, -1, 4).clone()
        states[~mask] = torch.nan
        if (padded == ord("~")).any():
            states[padded == ord("~")] = 1e6
        return EncoderOutput(states, mask, torch.stack([row.sum().expand(2) for row in batch]))

    def save(self, folder):
        raise NotImplementedError


def write_dataset(folder, texts):
    with DatasetWriter.open(folder / "dataset" / "fp", folder / "ledger" / "fp", {}) as writer:
        for number, text in enumerate(texts):
            key = content_digest(text.encode())
            sample_id = sample_digest(key, Task.DENOISE, "", str(number))
            row = (sample_id, key, Modality.TEXT, Task.DENOISE, Split.TRAIN, key, "s", f"m#{number}", str(number), text)
            writer.add_sample(Sample(*row))
            writer.add_ledger(LedgerRow("s", f"m#{number}", Fate.KEPT))
    return Dataset(folder / "dataset" / "fp")


TEXTS = [f"text {'x' * (n % 7)} {n}" for n in range(50)]
