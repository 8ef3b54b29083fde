"""Rehearsal: old samples among the new ones, so that what was learnt is kept, and a measure of what is forgotten.

The old data are those of the training that the starting model comes from: its folder names dataset and encoders, and
the workspace around it holds the samples and their latents (experience replay, e.g. Rolnick et al. 2019).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from multimodal.dataset import Dataset
from multimodal.errors import ConfigError
from multimodal.evaluation import SampledScorer
from multimodal.fingerprint import read_index
from multimodal.generation import TextGenerator
from multimodal.latents import LatentsInfo, LatentStore, is_encoded
from multimodal.pairs.filtered import reopen_dataset
from multimodal.sample import Modality, Sample, Split, Task
from multimodal.tokenizer import TextTokenizer
from multimodal.training.batches import fitting
from multimodal.training.finetuning.options import RehearseOptions
from multimodal.training.finetuning.start import start_folder
from multimodal.training.options import SamplerOptions


@dataclass(frozen=True)
class OldData:
    """What the starting model was trained with.

    Args:
        dataset: its samples.
        latents: by modality.
        max_tokens: longest text that it learnt, its end included.
    """

    dataset: Dataset
    latents: Mapping[Modality, LatentsInfo]
    max_tokens: int

    @cached_property
    def stores(self) -> dict[Modality, LatentStore]:
        """Its latents."""
        return {modality: LatentStore(info.path) for modality, info in self.latents.items()}

    def samples(self, tokenizer: TextTokenizer, tasks: Mapping[Task, float]) -> dict[Task, list[Sample]]:
        """What of its train split was learnt, by task.

        Args:
            tokenizer: of the starting model.
            tasks: their weights; those without one are left out.
        """
        found: dict[Task, list[Sample]] = defaultdict(list)
        for sample in self.dataset.samples(split=Split.TRAIN):
            if is_encoded(sample, self.stores) and tasks.get(sample.task, 0) > 0:
                found[sample.task].append(sample)
        kept, _, _ = fitting(found, tokenizer, self.max_tokens)
        return kept


def find_old_data(options: RehearseOptions, source: str, latents: Mapping[Modality, LatentsInfo]) -> OldData:
    """The dataset and latents of the training that a starting model comes from.

    Args:
        options: which training.
        source: of the starting model.
        latents: of the new data.

    Raises:
        ConfigError: the training's folder, its dataset or its latents are gone, or the new data's latents are of
            another encoder.
    """
    run = options.run or start_folder(source).parent
    index = read_index(run)
    if index is None or "dataset" not in index.get("parts", {}):
        raise ConfigError(
            f"{run} is no finished training, so that its data cannot be rehearsed; set train.rehearse.run to "
            "`checkpoints/<fingerprint>` of the training that made the starting model"
        )
    workspace = run.parent.parent
    dataset = workspace / "dataset" / index["parts"]["dataset"]
    if read_index(dataset) is None:
        raise ConfigError(f"the dataset that {run} was trained with is gone: {dataset}; leave out train.rehearse")
    found = {}
    for name, encoder in index["parts"]["encoders"].items():
        modality, folder = Modality(name), workspace / "latents" / encoder
        if modality in latents and latents[modality].encoder_fingerprint != encoder:
            raise ConfigError(
                f"the new data's {modality} latents are of encoder {latents[modality].encoder_fingerprint}, those of "
                f"{run} of {encoder}; encode with the encoder that the starting model was trained with"
            )
        if read_index(folder) is None:
            raise ConfigError(f"the latents that {run} was trained with are gone: {folder}; leave out train.rehearse")
        store = LatentStore(folder)
        found[modality] = LatentsInfo(modality, folder, encoder, store.hidden_size, len(store))
    old = reopen_dataset(dataset, index["parts"].get("left_out", ""))
    return OldData(old, found, index["parts"]["tokenizer"]["max_tokens"])


class ForgettingScorer:
    """Scores on the old val split, compared with what the starting model reached there.

    Args:
        old: data of the starting model.
        start: that model.
        options: of the sampler.
        max_samples: per task.
    """

    def __init__(self, old: OldData, start: TextGenerator, options: SamplerOptions, max_samples: int) -> None:
        self.scorer = SampledScorer.choose(old.dataset, old.latents, options, Split.VAL, max_samples)
        self.before = self.scorer(start).per_task

    def __call__(self, generator: TextGenerator) -> dict[str, float]:
        """`val/old/<task>` of each old task, and `val/forgetting`: how much their mean has fallen, below 0 if risen."""
        now = self.scorer(generator).per_task
        lost = [self.before[task] - now[task] for task in self.before]
        scores = {f"val/old/{task}": value for task, value in now.items()}
        return scores | ({"val/forgetting": sum(lost) / len(lost)} if lost else {})
