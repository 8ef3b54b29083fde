"""Towers from scratch: on a dataset's own train split, or (the sample encoders) on endless synthetic media.

image            open_clip's contrastive loss, with region and caption losses on the positions
scene_pictures   endless scenes for it, and the linear probe of its positions
audio, clips     CTC over characters, and spoken clips for it
text             denoising, on a dataset's texts or on endless sentences
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from multimodal.errors import EncoderError
from multimodal.sample import Modality, Split, Task

if TYPE_CHECKING:
    from multimodal.dataset import Dataset
    from multimodal.encoders.base import Encoder
    from multimodal.encoders.options import EncoderOptions, SampleEncodersOptions
    from multimodal.encoders.pretraining.image import CaptionedPictures

Progress = Callable[[int, int], None]
Log = Callable[[int, Mapping[str, float]], None]

_SEEDS_OF_SCORES = 987
"""Sentences and scenes that a tower is scored on are drawn from this seed, which no training uses."""


def pretrain_on_dataset(
    options: EncoderOptions,
    modality: Modality,
    dataset: Dataset,
    output: Path,
    progress: Progress | None = None,
    log: Log | None = None,
) -> Path:
    """Train one tower on the train split of a dataset and save it; returns its folder.

    Raises:
        EncoderError: the train split has nothing to learn from, or the architecture is wrong.
    """
    train = {Modality.IMAGE: _image_on, Modality.AUDIO: _audio_on, Modality.TEXT: _text_on}[modality]
    train(options, dataset, progress, log).save(output)
    return output


def _image_on(options: EncoderOptions, dataset: Dataset, progress: Progress | None, log: Log | None) -> Encoder:
    from multimodal.encoders.pretraining.image import pretrain_image

    return pretrain_image(options, captioned_pictures(options, dataset), progress, log).encoder


def _audio_on(options: EncoderOptions, dataset: Dataset, progress: Progress | None, log: Log | None) -> Encoder:
    from multimodal.encoders.pretraining.audio import clips_of, pretrain_audio

    samples = dataset.samples(split=Split.TRAIN, task=Task.TRANSCRIBE)
    texts = {sample.content_id: sample.text for sample in samples}
    clips = clips_of((content.data, texts[content.content_id]) for content in dataset.contents(sorted(texts)))
    if not clips:
        raise EncoderError("the train split has no speech to pretrain an audio encoder on; set encode.audio.weights")
    return pretrain_audio(options, clips, progress, log).encoder


def _text_on(options: EncoderOptions, dataset: Dataset, progress: Progress | None, log: Log | None) -> Encoder:
    from multimodal.encoders.pretraining.text import dataset_pairs, pretrain_text

    return pretrain_text(options, dataset_pairs(dataset.samples(split=Split.TRAIN)), progress, log).encoder


def captioned_pictures(options: EncoderOptions, dataset: Dataset) -> CaptionedPictures:
    """The train pictures of a dataset, decoded once and resized to what the tower takes, with their captions.

    Raises:
        EncoderError: the train split has no pictures.
    """
    import numpy as np
    import torch

    from multimodal.encoders.image import picture_format
    from multimodal.encoders.pretraining.image import CaptionedPictures
    from multimodal.ingest.pictures import decode_picture

    captions: dict[str, list[str]] = defaultdict(list)
    for sample in dataset.samples(split=Split.TRAIN, task=Task.CAPTION):
        captions[sample.content_id].append(sample.text)
    form = picture_format(options)
    pixels, texts = [], []
    for content in dataset.contents(sorted(captions)):
        picture = decode_picture(content.data).resize((form.width, form.height))
        pixels.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
        texts.append(captions[content.content_id])
    if not pixels:
        raise EncoderError("the train split has no pictures to pretrain an image encoder on; set encode.image.weights")
    return CaptionedPictures(torch.stack(pixels), texts, form.mean, form.std, options.pretrain.seed)


def pretrain_sample_tower(
    options: SampleEncodersOptions, modality: Modality, progress: Progress | None = None, log: Log | None = None
) -> Path:
    """Train one sample encoder on endless synthetic media, log its scores, and save it; returns its folder.

    Raises:
        EncoderError: the options name no such tower, or the architecture is wrong.
        SourceError: espeak-ng is not installed (audio).
    """
    tower: EncoderOptions | None = getattr(options, modality.value)
    if tower is None:
        raise EncoderError(f"the options name no {modality} tower to pretrain")
    train = {Modality.IMAGE: _sample_image, Modality.AUDIO: _sample_audio, Modality.TEXT: _sample_text}[modality]
    encoder, scores = train(options, tower, progress, log)
    encoder.save(options.output / modality.value)
    if log:
        log(tower.pretrain.steps, scores)
    return options.output / modality.value


def _sample_image(
    options: SampleEncodersOptions, tower: EncoderOptions, progress: Progress | None, log: Log | None
) -> tuple[Encoder, dict[str, float]]:
    from multimodal.encoders.image import picture_format
    from multimodal.encoders.pretraining.image import pretrain_image
    from multimodal.encoders.pretraining.scene_pictures import ScenePictures, probe_scenes

    form = picture_format(tower)
    pictures = ScenePictures(form.map_side, form.mean[0], form.std[0], tower.pretrain.seed)
    encoder = pretrain_image(tower, pictures, progress, log).encoder
    return encoder, {f"probe_{name}": value for name, value in asdict(probe_scenes(encoder)).items()}


def _sample_audio(
    options: SampleEncodersOptions, tower: EncoderOptions, progress: Progress | None, log: Log | None
) -> tuple[Encoder, dict[str, float]]:
    from multimodal.encoders.pretraining.audio import pretrain_audio, score_transcripts
    from multimodal.encoders.pretraining.clips import spoken_clips

    clips = spoken_clips(options.workspace / "speech", options.espeak_clips, tower.pretrain.seed, progress)
    encoder = pretrain_audio(tower, clips.train, progress, log).encoder
    seen, unseen = score_transcripts(encoder, clips.seen_voices), score_transcripts(encoder, clips.unseen_voice)
    return encoder, {"wer_seen_voices": seen.wer, "wer_unseen_voice": unseen.wer}


def _sample_text(
    options: SampleEncodersOptions, tower: EncoderOptions, progress: Progress | None, log: Log | None
) -> tuple[Encoder, dict[str, float]]:
    from multimodal.encoders.pretraining.text import pretrain_text, score_denoising
    from multimodal.synthetic.sentences import noisy_sentence

    trained = pretrain_text(tower, noisy_sentence, progress, log)
    score = score_denoising(trained, noisy_sentence, count=1000, seed=_SEEDS_OF_SCORES)
    return trained.encoder, {"cer_before": score.before, "cer_after": score.after, "exact": score.exact}
