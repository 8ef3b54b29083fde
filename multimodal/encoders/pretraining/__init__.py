"""Towers, from scratch or from weights: on a dataset's train split, or the sample encoders on endless synthetic media.

on_dataset       a tower of any modality on a dataset, scored on its val split before and after
image, contrast  open_clip's contrastive losses, with region and caption losses on the positions
scene_pictures   endless scenes for it, and the linear probe of its positions
audio, clips     CTC over characters, and spoken clips for it
augmentation     speed, gain, noise and SpecAugment
text             denoising, on a dataset's texts or on endless sentences
lora             adapters beside a tower's weights, merged at the end
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from multimodal.errors import EncoderError
from multimodal.sample import Modality

if TYPE_CHECKING:
    from multimodal.encoders.base import Encoder
    from multimodal.encoders.options import EncoderOptions, SampleEncodersOptions

Progress = Callable[[int, int], None]
Log = Callable[[int, Mapping[str, float]], None]

_SEEDS_OF_SCORES = 987
"""Sentences and scenes that a tower is scored on are drawn from this seed, which no training uses."""


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
