"""Calibrates the confidences of a finished checkpoint on val texts that it writes itself."""

from __future__ import annotations

import json
from pathlib import Path

from multimodal.evaluation.calibrating import fit_calibration
from multimodal.evaluation.sampled import SampledScorer
from multimodal.fingerprint import write_json
from multimodal.generation import CONFIG, TextGenerator


def calibrate_checkpoint(
    checkpoint: Path, scorer: SampledScorer, generator: type[TextGenerator] = TextGenerator
) -> None:
    """Fit a calibration for each task and keep it in the checkpoint's `config.json`, which `TextGenerator.load` reads.

    Args:
        checkpoint: folder of a finished step; one that is calibrated already is calibrated again, to the same values.
        scorer: holds the val items, the latents and the sampler.
        generator: what reads the checkpoint.
    """
    loaded = generator.load(checkpoint)
    raw = generator(loaded.decoder, loaded.tokenizer, loaded.canvas)
    found = {
        str(task): fit_calibration(scorer.items[task], texts).to_json() for task, texts in scorer.write(raw).items()
    }
    config = json.loads((checkpoint / CONFIG).read_text())
    write_json(checkpoint / CONFIG, config | {"calibration": found})
