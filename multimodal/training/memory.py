"""Retrieved captions as drafts: found among the train pictures, and remembered by the decoder."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch

from multimodal.decoder import CrossAttentionDecoder
from multimodal.latents import LatentStore
from multimodal.retrieval import CaptionStore
from multimodal.sample import Modality, Sample, Task
from multimodal.tokenizer import TextTokenizer


def retrieves(drafts: Collection[str], samples: Mapping[Task, Sequence[Sample]]) -> bool:
    """Whether captions are to be written from retrieved ones."""
    return Task.CAPTION in drafts and bool(samples.get(Task.CAPTION))


def with_retrieved_captions(
    stores: Mapping[Modality, LatentStore], train: Sequence[Sample], val: Sequence[Sample]
) -> dict[Modality, LatentStore]:
    """Stores of which that of pictures reads the nearest train caption off each."""
    return {**stores, Modality.IMAGE: CaptionStore(stores[Modality.IMAGE].path, train, val)}


def memory_shape(stores: Mapping[Modality, LatentStore]) -> tuple[int, ...]:
    """`DecoderConfig.memory`: () where no captions are retrieved."""
    store = stores.get(Modality.IMAGE)
    return store.vectors.shape if isinstance(store, CaptionStore) else ()


def remember_captions(
    decoder: CrossAttentionDecoder, stores: Mapping[Modality, LatentStore], tokenizer: TextTokenizer
) -> None:
    """Give a fresh decoder the captions that its training retrieves from."""
    store = stores.get(Modality.IMAGE)
    if decoder.memory is not None and isinstance(store, CaptionStore):
        captions = tokenizer.encode_batch([sample.text for sample in store.known])
        decoder.memory.fill(torch.from_numpy(store.vectors), captions)
