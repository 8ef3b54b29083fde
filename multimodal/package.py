"""The model package: one folder with all that prediction needs, and nothing that is a pickle.

    decoder.safetensors config.json tokenizer.json     the checkpoint, its optimiser left behind
    encoders/image|audio|text/                         the encoders of the tasks it was trained for
    probe.json                                         a few inputs and what the model wrote for them
    index.json                                         sampler, encoder options, SHA-256 of every file

`load_predictor` reads it anywhere: the folder refers to nothing outside itself.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from multimodal import __version__
from multimodal.encoders import build_encoder
from multimodal.encoders.base import Encoder, pick_device
from multimodal.encoders.options import EncodeOptions, EncoderOptions
from multimodal.errors import CheckpointError
from multimodal.fingerprint import (
    file_digest,
    file_digests,
    fingerprint,
    new_folder,
    read_index,
    write_index,
    write_json,
)
from multimodal.generation import CONFIG, FILES, TextGenerator, require_files
from multimodal.predictor import Predictor, Row
from multimodal.sample import Modality, Task
from multimodal.training.options import SamplerOptions

FORMAT = 1
ENCODERS, PROBE = "encoders", "probe.json"


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A finished package folder.

    Args:
        path: the folder.
        fingerprint: of checkpoint, encoders and sampler: same fingerprint, same answers.
        tasks: what the model writes.
        sampler: how, unless a request says otherwise.
        probe: rows with the texts that the model wrote for them when the package was made.
    """

    path: Path
    fingerprint: str
    tasks: tuple[Task, ...]
    sampler: SamplerOptions
    probe: tuple[tuple[Row, str], ...]


def write_package(
    folder: Path,
    checkpoint: Path,
    encoders: Mapping[Modality, Encoder],
    options: EncodeOptions,
    sampler: SamplerOptions,
    probe: Sequence[Row] = (),
) -> ModelPackage:
    """Gather a package in `folder/<fingerprint>`; returns at once if it is there.

    Args:
        folder: where packages live.
        checkpoint: a finished checkpoint.
        encoders: at least those that the checkpoint's tasks need.
        options: their options; architecture and weights are then taken from the package.
        sampler: how texts are drawn.
        probe: rows to answer once, as a reference for `changed_answers`.

    Raises:
        CheckpointError: the checkpoint is incomplete, or an encoder that it needs is not given.
    """
    modalities = _needed(checkpoint, encoders, options)
    parts = {
        "format": FORMAT,
        "checkpoint": {name: file_digest(checkpoint / name) for name in FILES},
        "encoders": {str(modality): encoders[modality].fingerprint for modality in modalities},
        "sampler": sampler.model_dump(mode="json"),
    }
    target = folder / fingerprint(parts)
    if read_index(target) is None:
        with new_folder(target) as new:
            _fill(new, checkpoint, {modality: encoders[modality] for modality in modalities})
            index: dict[str, Any] = {
                "parts": parts,
                "encoders": _encoder_options(options, modalities),
                "library": __version__,
            }
            index |= {"sampler": parts["sampler"]}
            write_json(new / PROBE, _answers(_predictor(new, index, "cpu"), probe))
            write_index(new, index | {"files": file_digests(new)})
    return read_package(target)


def read_package(path: Path) -> ModelPackage:
    """The record of a package folder.

    Raises:
        CheckpointError: it is absent, incomplete, or of another format.
    """
    index = _read_index(path)
    tasks = json.loads((path / CONFIG).read_text())["decoder"]["tasks"]
    probe = json.loads((path / PROBE).read_text())
    return ModelPackage(
        path=path,
        fingerprint=fingerprint(index["parts"]),
        tasks=tuple(Task(task) for task in tasks),
        sampler=SamplerOptions.model_validate(index["sampler"]),
        probe=tuple((Row.from_json(case["row"]), case["text"]) for case in probe),
    )


def load_predictor(path: Path, device: str = "auto", self_test: bool = True) -> Predictor:
    """A predictor from a package folder, after its files have been compared with their digests and its answers tested.

    Args:
        path: the folder.
        device: "auto", "cpu", "cuda" ...
        self_test: whether the probe is answered and compared with what was written when the package was made.

    Raises:
        CheckpointError: the package is absent or incomplete, a file is not the one that was packed, or the probe is
            answered differently.
    """
    index = _read_index(path)
    found = file_digests(path)
    damaged = sorted(name for name, expected in index["files"].items() if found.get(name) != expected)
    if damaged:
        raise CheckpointError(f"{path} is damaged: {', '.join(damaged[:4])} differ from what was packed")
    predictor = _predictor(path, index, device)
    if self_test:
        _require_answers(read_package(path), index, predictor)
    return predictor


def changed_answers(package: ModelPackage, predictor: Predictor) -> tuple[str, ...]:
    """The probe's texts that the predictor does not reproduce, as `task: expected -> got`."""
    answers = predictor.predict([row for row, _ in package.probe])
    pairs = zip(package.probe, answers, strict=True)
    return tuple(
        f"{row.task}: {text!r} -> {answer.text or answer.error!r}"
        for (row, text), answer in pairs
        if answer.text != text
    )


def _require_answers(package: ModelPackage, index: Mapping[str, Any], predictor: Predictor) -> None:
    changed = changed_answers(package, predictor)
    if changed and predictor.generator.device.type != "cpu":
        # Another device rounds otherwise, which may turn a close call; the CPU, where the probe was made, decides.
        changed = changed_answers(package, _predictor(package.path, index, "cpu"))
    if changed:
        shown = "; ".join(changed[:3]) + ("; ..." if len(changed) > 3 else "")
        raise CheckpointError(
            f"the self-test of {package.path} fails: {len(changed)} of {len(package.probe)} probes are answered "
            f"differently: {shown}; it was packed by version {index['library']} of this library, this is {__version__}"
        )


def modalities_of(checkpoint: Path) -> list[Modality]:
    """Whose latents a checkpoint's tasks read, those of a picture beside them included, sorted.

    Raises:
        CheckpointError: it is incomplete.
    """
    require_files(checkpoint)
    decoder = json.loads((checkpoint / CONFIG).read_text())["decoder"]
    beside = {Modality.IMAGE} if "picture" in decoder.get("further", ()) else set()
    tasks = (Task(task) for task in decoder["tasks"])
    return sorted(beside | {task.modality for task in tasks if task is not Task.INFILL})


def _needed(checkpoint: Path, encoders: Mapping[Modality, Encoder], options: EncodeOptions) -> list[Modality]:
    needed = modalities_of(checkpoint)
    for modality in needed:
        if modality not in encoders or options.of(modality) is None:
            raise CheckpointError(
                f"{checkpoint} reads {modality}, but no {modality} encoder is given: encode.{modality}"
            )
    return needed


def _fill(folder: Path, checkpoint: Path, encoders: Mapping[Modality, Encoder]) -> None:
    for name in FILES:
        shutil.copyfile(checkpoint / name, folder / name)
    (folder / ENCODERS).mkdir()
    for modality, encoder in encoders.items():
        encoder.save(folder / ENCODERS / modality)


def _encoder_options(options: EncodeOptions, modalities: Sequence[Modality]) -> dict[str, Any]:
    """Options as JSON, without what the package's own folder says and what belongs to the machine."""
    chosen = {modality: options.of(modality) for modality in modalities}
    # Packages hold safetensors.
    leave = {"model", "weights", "pretrain", "device", "allow_pickle", "batch_size", "decode_in", "decode_workers"}
    return {str(key): value.model_dump(mode="json", exclude=leave) for key, value in chosen.items() if value}


def _predictor(path: Path, index: Mapping[str, Any], device: str) -> Predictor:
    encoders: dict[Modality, Encoder] = {}
    for name, values in index["encoders"].items():
        weights = str(path / ENCODERS / name)
        options = EncoderOptions.model_validate(values | {"weights": weights, "device": device})
        encoders[Modality(name)] = build_encoder(options, Modality(name))
    sampler = SamplerOptions.model_validate(index["sampler"])
    return Predictor(TextGenerator.load(path, pick_device(device)), encoders, sampler)


def _answers(predictor: Predictor, probe: Sequence[Row]) -> list[dict[str, Any]]:
    answers = predictor.predict(probe)
    return [{"row": row.to_json(), **asdict(answer)} for row, answer in zip(probe, answers, strict=True)]


def _read_index(path: Path) -> dict[str, Any]:
    index = read_index(path)
    if index is None:
        raise CheckpointError(f"no finished model package at {path}; run `multimodal run CONF` first")
    if index["parts"]["format"] != FORMAT:
        found = index["parts"]["format"]
        raise CheckpointError(f"{path} has package format {found}, this library reads {FORMAT}; register again")
    return index
