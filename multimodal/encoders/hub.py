"""Whether a pretrained name can be had at all, found out in seconds: a plain try takes most of a minute to give up."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from multimodal.errors import EncoderError

PROBE_SECONDS = 2.0
"""How long the hub may take to answer before it counts as unreachable."""

DESCRIPTIONS = ("*.json", "*.txt", "*.model")
"""Configurations and tokenizers."""
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*.safetensors")
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin")
"""Asked for only where pickles are allowed and there is nothing else."""


def is_local(weights: str) -> bool:
    """Whether `weights` means a folder: it is there, or it cannot be a hub id of at most one slash."""
    return Path(weights).exists() or weights.startswith((".", "/", "~")) or weights.count("/") > 1


def require_reachable(
    name: str, cure: str, files: Sequence[str] = ("config.json",), cache_dir: str | Path | None = None
) -> bool:
    """Check that a hub model is cached or can be downloaded; True where the cache must serve it.

    Args:
        name: hub id.
        cure: what can be done where there is no network, for the message.
        files: any of these in the cache means that the model is there.
        cache_dir: other than the hub's own.

    Raises:
        EncoderError: it is not cached, and the hub is switched off or does not answer within 2 s.
    """
    from huggingface_hub import try_to_load_from_cache

    if any(isinstance(try_to_load_from_cache(name, file, cache_dir), str) for file in files):
        return True
    cures = f"{cure}, download the model where there is a network and copy it"
    require_answer(cures, f"'{name}' is neither a local folder nor in the hub's cache, and ")
    return False


def require_answer(cure: str, before: str = "") -> None:
    """Check that the hub answers.

    Raises:
        EncoderError: it is switched off or does not answer within 2 s; the message says `before` and `cure` too.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or not _answers(constants.ENDPOINT):
        raise EncoderError(f"{before}{constants.ENDPOINT} cannot be reached; {cure}, or unset HF_HUB_OFFLINE")


def local_copy(
    name: str, cure: str, allow_pickle: bool = False, weights: Sequence[str] = WEIGHTS, pickled: Sequence[str] = PICKLED
) -> Path:
    """The folder of a model: a local one as it is, else what the hub has under this name, downloaded where needed.

    Of the weights only safetensors are asked for; pickles are, with `allow_pickle`, where there is nothing else.

    Args:
        cure: what can be done where there is no network, for the message.
        weights, pickled: names of files, with wildcards.

    Raises:
        EncoderError: it is not cached, and the hub is switched off, does not answer within 2 s, or has no such model
            in safetensors.
    """
    if is_local(name):
        return Path(name).expanduser()
    usable = [*weights, *(pickled if allow_pickle else ())]
    cached = require_reachable(name, cure, [file for file in usable if "*" not in file])
    folder = _snapshot(name, [*DESCRIPTIONS, *weights], cached, cure)
    if _holds(folder, weights):
        return folder
    if allow_pickle and _holds(folder := _snapshot(name, [*DESCRIPTIONS, *pickled], cached, cure), pickled):
        return folder
    raise EncoderError(
        f"the hub's '{name}' has no {' or '.join(usable)}; name a model that is published in safetensors, "
        "or set `allow_pickle: true` if its checkpoint is to be trusted"
    )


def _snapshot(name: str, files: Sequence[str], cached: bool, cure: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        with no_progress_bars():
            return Path(snapshot_download(name, allow_patterns=list(files), local_files_only=cached))
    except (OSError, ValueError) as error:
        if not cached:
            raise EncoderError(f"'{name}' cannot be had from the hub: {str(error)[:300]}") from error
    require_answer(cure, f"the hub's cache lacks files of '{name}', and ")
    return _snapshot(name, files, False, cure)


def _holds(folder: Path, files: Sequence[str]) -> bool:
    return any(next(folder.glob(file), None) is not None for file in files)


def shipped_instead(folder: str) -> str:
    """The cure for an encoder that cannot be reached."""
    return f"set `weights` to a local folder ({folder} ships with the project)"


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing bars for loading and saving: the terminal belongs to the stages' own."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def _answers(endpoint: str) -> bool:
    """Whether the host of a URL, or the proxy on the way to it, takes a connection within `PROBE_SECONDS`."""
    url = urlsplit(getproxies().get("https") or endpoint)
    answered = threading.Event()

    def connect() -> None:
        try:
            with socket.create_connection(
                (url.hostname or "", url.port or (80 if url.scheme == "http" else 443)), timeout=PROBE_SECONDS
            ):
                answered.set()
        except OSError:
            return

    # In a thread, because no timeout covers the look-up of the name.
    prober = threading.Thread(target=connect, daemon=True)
    prober.start()
    prober.join(PROBE_SECONDS)
    return answered.is_set()
