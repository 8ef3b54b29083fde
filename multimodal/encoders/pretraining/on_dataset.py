"""A tower of any modality on the train split of a dataset, scored on its val split before and after."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from multimodal.dataset import Dataset
from multimodal.encoders import build_encoder
from multimodal.encoders.audio import AudioEncoder
from multimodal.encoders.base import Encoder
from multimodal.encoders.clip_text import embed_texts, has_text_tower
from multimodal.encoders.image import picture_format
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.pretraining.audio import clips_of, pretrain_audio, score_transcripts
from multimodal.encoders.pretraining.clips import Clip
from multimodal.encoders.pretraining.image import CaptionedPictures, pretrain_image
from multimodal.encoders.pretraining.text import dataset_pairs, pretrain_text, score_denoising
from multimodal.errors import EncoderError
from multimodal.ingest.pictures import decode_picture
from multimodal.sample import Content, Modality, Split, Task

Progress = Callable[[int, int], None]
Log = Callable[[int, Mapping[str, float]], None]

LESS_IS_BETTER = ("wer", "cer")
"""Of the scores that a tower may have; `retrieval_at_1` is better where it is higher."""
_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class TowerTraining:
    """What training a tower left behind.

    Args:
        encoder: the trained one; for adapters, with these merged.
        steps: optimiser steps done.
        minutes: spent in them.
        start: fingerprint of the encoder that it started from, "" where it was trained from scratch.
        scores: on the val split: `retrieval_at_1` (share of pictures whose own caption is the nearest of all that are
            asked), `wer` of greedy CTC transcripts, or `cer` of texts that were given back from noise; none where the
            split has nothing to score.
        before: the same of the encoder that it started from, where that can be scored.
        count: samples that were scored.
    """

    encoder: Encoder
    steps: int
    minutes: float
    start: str
    scores: Mapping[str, float]
    before: Mapping[str, float]
    count: int


def train_on_dataset(
    options: EncoderOptions, modality: Modality, dataset: Dataset, progress: Progress | None = None,
    log: Log | None = None,
) -> TowerTraining:  # fmt: skip
    """Train one tower on the train split of a dataset, as `options.pretrain` says.

    Raises:
        EncoderError: the train split has nothing to learn from, or weights or architecture cannot be had.
    """
    train = {Modality.IMAGE: _image, Modality.AUDIO: _audio, Modality.TEXT: _text}[modality]
    return train(options, dataset, progress, log)


def score_of(scores: Mapping[str, float]) -> float | None:
    """The first score, turned so that more is better; None where there is none."""
    found = [1 - value if name in LESS_IS_BETTER else value for name, value in scores.items()]
    return found[0] if found else None


def _image(options: EncoderOptions, dataset: Dataset, progress: Progress | None, log: Log | None) -> TowerTraining:
    pictures, held_out = captioned_pictures(options, dataset), _captions(dataset, Split.VAL)
    wanted = sorted(held_out)[: options.pretrain.scored]
    asked = [(content, held_out[content.content_id][0]) for content in dataset.contents(wanted)] if wanted else []
    start = _start(options, Modality.IMAGE)
    before = _retrieval(start, asked)
    made = pretrain_image(options, pictures, progress, log)
    scores = _retrieval(made.encoder, asked)
    return TowerTraining(made.encoder, made.steps, made.minutes, _name(start), scores, before, len(asked))


def _audio(options: EncoderOptions, dataset: Dataset, progress: Progress | None, log: Log | None) -> TowerTraining:
    clips = _clips(dataset, Split.TRAIN, None)
    if not clips:
        raise EncoderError("the train split has no speech to pretrain an audio encoder on; set encode.audio.weights")
    asked = [clip for clip in _clips(dataset, Split.VAL, options.pretrain.scored) if clip.text.strip()]
    start = _start(options, Modality.AUDIO)
    before = _error_rate(start, asked)
    made = pretrain_audio(options, clips, progress, log)
    scores = _error_rate(made.encoder, asked)
    return TowerTraining(made.encoder, made.steps, made.minutes, _name(start), scores, before, len(asked))


def _text(options: EncoderOptions, dataset: Dataset, progress: Progress | None, log: Log | None) -> TowerTraining:
    start = _start(options, Modality.TEXT)
    made = pretrain_text(options, dataset_pairs(dataset.samples(split=Split.TRAIN)), progress, log)
    held_out, count = dataset.samples(split=Split.VAL), options.pretrain.scored
    try:
        source = dataset_pairs(held_out) if held_out and count else None
    except EncoderError:  # no text of letters
        source = None
    if source is None:
        return TowerTraining(made.encoder, made.steps, made.minutes, _name(start), {}, {}, 0)
    scored = score_denoising(made, source, count, seed=options.pretrain.seed + 1)
    # What reads the states is trained beside the tower and thrown away: of the start there is no such score.
    scores = {"cer": scored.after, "cer_of_input": scored.before, "exact": scored.exact}
    return TowerTraining(made.encoder, made.steps, made.minutes, _name(start), scores, {}, scored.count)


def captioned_pictures(options: EncoderOptions, dataset: Dataset) -> CaptionedPictures:
    """The train pictures of a dataset, decoded once and resized to what the tower takes, with their captions.

    Raises:
        EncoderError: the train split has no pictures.
    """
    captions = _captions(dataset, Split.TRAIN)
    form = picture_format(options.model_copy(update={"weights": options.pretrain.start}))
    pixels, texts = [], []
    for content in dataset.contents(sorted(captions)) if captions else ():
        picture = decode_picture(content.data).resize((form.width, form.height))
        pixels.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
        texts.append(captions[content.content_id])
    if not pixels:
        raise EncoderError("the train split has no pictures to pretrain an image encoder on; set encode.image.weights")
    how = options.pretrain
    return CaptionedPictures(torch.stack(pixels), texts, form.mean, form.std, how.seed, how.smallest_crop, how.mirror)


def _captions(dataset: Dataset, split: Split) -> dict[str, list[str]]:
    captions: dict[str, list[str]] = defaultdict(list)
    for sample in dataset.samples(split=split, task=Task.CAPTION):
        captions[sample.content_id].append(sample.text)
    return captions


def _clips(dataset: Dataset, split: Split, most: int | None) -> list[Clip]:
    texts = {sample.content_id: sample.text for sample in dataset.samples(split=split, task=Task.TRANSCRIBE)}
    wanted = sorted(texts)[:most]
    return clips_of((content.data, texts[content.content_id]) for content in dataset.contents(wanted)) if wanted else []


def _start(options: EncoderOptions, modality: Modality) -> Encoder | None:
    start = options.pretrain.start
    return build_encoder(options.model_copy(update={"weights": start}), modality) if start else None


def _name(start: Encoder | None) -> str:
    return start.fingerprint if start is not None else ""


def _retrieval(encoder: Encoder | None, asked: Sequence[tuple[Content, str]]) -> dict[str, float]:
    """Share of pictures whose own caption is the nearest of all that are asked for."""
    if encoder is None or not asked or not has_text_tower(encoder):
        return {}
    vectors = []
    for start in range(0, len(asked), _AT_ONCE):
        rows = [encoder.preprocess(content.data) for content, _ in asked[start : start + _AT_ONCE]]
        vectors.append(encoder.encode(rows).pooled)
    captions = [caption for _, caption in asked]
    texts = torch.cat([embed_texts(encoder, captions[at : at + _AT_ONCE]) for at in range(0, len(asked), _AT_ONCE)])
    nearest = (torch.cat(vectors) @ texts.T).argmax(1).tolist()
    # A caption that two pictures share is right for both.
    return {"retrieval_at_1": sum(captions[at] == own for at, own in zip(nearest, captions, strict=True)) / len(asked)}


def _error_rate(encoder: Encoder | None, asked: Sequence[Clip]) -> dict[str, float]:
    if not isinstance(encoder, AudioEncoder) or encoder.head is None or not asked:
        return {}
    scored = score_transcripts(encoder, asked)
    return {"wer": scored.wer, "exact": scored.exact}
