"""Checks of the installation. Each says what it found and, where that is wrong, names the cure."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rich.text import Text

from flows.console import console
from flows.server import EmbeddedServer, free_port, prepare_environment, server_configured
from multimodal.errors import MultimodalError

REINSTALL = "python -m pip install -c constraints.txt -e '.[dev]'"
SUPPORTED = ((3, 11), (3, 14))
TORCH_FAMILY = {"2.11": ("0.26", "2.11")}
"""torch -> the torchvision and torchaudio that are built for it."""

LAST_GOOD_FASTAPI = (0, 150)
NOT_INSTALLED = "(not installed)"
NEEDED_GB = 4.0
SAMPLE_ENCODERS = Path("data/encoders")


class Verdict(StrEnum):
    """How a check went."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Args:
        verdict: `note` is not good and not in the way.
        found: what there is.
        cure: what to do, where it is not good.
    """

    verdict: Verdict
    found: str
    cure: str = ""


def check_python(version: tuple[int, int] | None = None) -> Finding:
    """Python 3.11 to 3.13."""
    version = version or (sys.version_info.major, sys.version_info.minor)
    found = ".".join(map(str, version))
    if SUPPORTED[0] <= version < SUPPORTED[1]:
        return Finding(Verdict.GOOD, found)
    return Finding(Verdict.BAD, found, "make the virtual environment with Python 3.11, 3.12 or 3.13")


def check_torch(torch: str | None = None, torchvision: str | None = None, torchaudio: str | None = None) -> Finding:
    """The three torch packages are of one release."""
    versions = [
        given or _version(name)
        for name, given in (("torch", torch), ("torchvision", torchvision), ("torchaudio", torchaudio))
    ]
    found = "torch {}, torchvision {}, torchaudio {}".format(*versions)
    expected = TORCH_FAMILY.get(_minor(versions[0]))
    if expected == (_minor(versions[1]), _minor(versions[2])):
        return Finding(Verdict.GOOD, found)
    return Finding(Verdict.BAD, found, f"they do not belong together; {REINSTALL}")


def check_fastapi(version: str | None = None) -> Finding:
    """Prefect's server answers 422 to JSON nulls from fastapi 0.151 on, and does not start from 0.155 on."""
    version = version or _version("fastapi")
    if version.endswith(NOT_INSTALLED):
        return Finding(Verdict.BAD, f"fastapi {NOT_INSTALLED}", REINSTALL)
    if tuple(int(part) for part in _minor(version).split(".")) <= LAST_GOOD_FASTAPI:
        return Finding(Verdict.GOOD, f"fastapi {version}")
    return Finding(Verdict.BAD, f"fastapi {version} breaks Prefect's server", "pip install 'fastapi<0.151'")


def check_prefect() -> Finding:
    """The embedded server starts, or the configured one is named."""
    if server_configured():
        return Finding(Verdict.GOOD, "a server is configured; it is used instead of the embedded one")
    start = time.monotonic()
    server = EmbeddedServer(free_port())
    try:
        server.wait()
    except MultimodalError as error:
        return Finding(Verdict.BAD, str(error), f"{REINSTALL}; then look at `prefect server start`")
    finally:
        server.stop()
    return Finding(Verdict.GOOD, f"the embedded server starts in {time.monotonic() - start:.0f} s")


def check_mlflow(workspace: Path) -> Finding:
    """The tracking database can be made and written."""
    from multimodal.tracking import close_orphans, tracking_uri

    uri = tracking_uri(workspace)
    try:
        orphans = close_orphans(workspace)
    except Exception as error:  # MLflow wraps what its store raises, a file's or a server's, in errors of its own
        return Finding(Verdict.BAD, f"{uri}: {error}", "make the workspace writable, or set MLFLOW_TRACKING_URI")
    closed = f"; closed {len(orphans)} runs that dead processes had left open" if orphans else ""
    return Finding(Verdict.GOOD, f"MLflow {_version('mlflow')} at {uri}{closed}")


def check_encoders(folder: Path = SAMPLE_ENCODERS) -> Finding:
    """The sample encoders' weights are there."""
    missing = [name for name in ("image", "audio", "text") if not list((folder / name).glob("*.safetensors"))]
    if not missing:
        return Finding(Verdict.GOOD, f"sample encoders in {folder}")
    cure = "run from the project's folder, or make them: multimodal pretrain conf/sample-encoders.yaml"
    return Finding(Verdict.NOTE, f"{folder} lacks {', '.join(missing)}", cure)


def check_espeak() -> Finding:
    """espeak-ng, which only the makers of new sample speech need."""
    path = shutil.which("espeak-ng")
    if path:
        return Finding(Verdict.GOOD, path)
    return Finding(Verdict.NOTE, "not installed; only needed to regenerate sample speech", "apt install espeak-ng")


def check_disk(workspace: Path, needed_gb: float = NEEDED_GB) -> Finding:
    """Room for the sample run."""
    existing = next(folder for folder in (workspace.resolve(), *workspace.resolve().parents) if folder.exists())
    free = shutil.disk_usage(existing).free / 2**30
    if free >= needed_gb:
        return Finding(Verdict.GOOD, f"{free:.0f} GB free at {existing}")
    return Finding(Verdict.BAD, f"{free:.1f} GB free at {existing}", f"free {needed_gb:.0f} GB, or move the workspace")


def check_device() -> Finding:
    """What training will run on."""
    import torch

    if torch.cuda.is_available():
        return Finding(Verdict.GOOD, torch.cuda.get_device_name())
    return Finding(Verdict.GOOD, f"no GPU, {torch.get_num_threads()} processor threads")


def examine(workspace: Path) -> bool:
    """Run all checks and print what they found; whether none is bad."""
    prepare_environment(workspace)
    checks: Sequence[tuple[str, Callable[[], Finding]]] = (
        ("Python", check_python),
        ("torch", check_torch),
        ("device", check_device),
        ("fastapi", check_fastapi),
        ("Prefect", check_prefect),
        ("MLflow", lambda: check_mlflow(workspace)),
        ("encoders", check_encoders),
        ("espeak-ng", check_espeak),
        ("disk", lambda: check_disk(workspace)),
    )
    findings = [_show(name, check()) for name, check in checks]
    return all(finding.verdict is not Verdict.BAD for finding in findings)


def _show(name: str, finding: Finding) -> Finding:
    mark, style = {
        Verdict.GOOD: ("ok  ", "green"),
        Verdict.NOTE: ("note", "yellow"),
        Verdict.BAD: ("BAD ", "bold red"),
    }[finding.verdict]
    cure = f"  ->  {finding.cure}" if finding.cure else ""
    console().print(Text.assemble((mark, style), f"  {name:<10} {finding.found}", (cure, style)), soft_wrap=True)
    return finding


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return f"0.0 {NOT_INSTALLED}"


def _minor(version: str) -> str:
    return ".".join(version.split("+")[0].split()[0].split(".")[:2])
