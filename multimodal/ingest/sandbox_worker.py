"""The program of a sandbox's worker process: takes batches of media files, answers once for each batch.

    python -m multimodal.ingest.sandbox_worker FD SANDBOX_OPTIONS CHECK_OPTIONS [MODALITY ...]

makes fingerprints of files of these modalities where a message asks for them.

A message is a JSON list of modalities, lengths and extras, a line feed, and the bytes of as many files; an answer is a
JSON list of as many objects. The process ends when the connection does. A timer of the kernel's ends it when a file
takes too long, even inside a decoder that never returns, and even if the program that started it is gone.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from multimodal.errors import MediaError
from multimodal.ingest.media import Extra, check_media, load_fingerprints
from multimodal.ingest.options import CheckOptions, SandboxOptions
from multimodal.ingest.reasons import Reason
from multimodal.sample import Modality

READY = b"ready"
OUT_OF_MEMORY = 112
"""Exit status of a process that has no memory left to say so."""

Check = Callable[..., Any]
"""(bytes, modality, checks) -> what is asked of a file: a dataclass of JSON values, or a `MediaError`. An extra, where
one is asked for, comes fourth."""


def serve(connection: Connection, options: SandboxOptions, checks: CheckOptions, check: Check = check_media) -> None:
    """Answer until the connection ends."""
    warnings.simplefilter("ignore")  # what decoders have to say about odd bytes ends in a reason or nowhere
    _limit_memory(options.memory_mib * 2**20)
    connection.send_bytes(READY)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    while True:
        answers = []
        for data, *asked in unpack(connection.recv_bytes()):
            signal.setitimer(signal.ITIMER_REAL, options.timeout_seconds)
            answers.append(_answer(data, asked, options, checks, check))
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send_bytes(json.dumps(answers).encode())


def pack(files: Sequence[tuple[bytes, Modality, Extra]]) -> bytes:
    """The message that holds these files."""
    header = json.dumps([(modality, len(data), extra) for data, modality, extra in files]).encode()
    return b"\n".join([header, b"".join(data for data, *_ in files)])


def unpack(message: bytes) -> Iterator[tuple[bytes, Modality, Extra]]:
    """The files of a message, each copied out when its turn comes."""
    start = message.index(b"\n") + 1
    for modality, length, extra in json.loads(message[: start - 1]):
        yield message[start : start + length], Modality(modality), Extra(extra)
        start += length


def _answer(
    data: bytes, asked: Sequence[Any], options: SandboxOptions, checks: CheckOptions, check: Check
) -> dict[str, Any]:
    modality, extra = asked
    try:
        found = check(data, modality, checks, extra) if extra else check(data, modality, checks)
        return {field.name: getattr(found, field.name) for field in fields(found)}
    except MediaError as error:
        detail = error.detail.encode("utf-8", "backslashreplace").decode()
        return {"reason": error.reason, "detail": detail, "measures": error.measures}
    except MemoryError:
        return {"reason": Reason.DECODER_MEMORY, "detail": f"needs more than {options.memory_mib} MiB to be decoded"}


def _limit_memory(num_bytes: int) -> None:
    """Let this process have so many bytes more than it has now."""
    kind, used = resource.RLIMIT_AS, 0
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts private memory apart from address space, which libraries only reserve
        kind = resource.RLIMIT_DATA
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        used = 1024 * int(fields["VmData"].split()[0])
    _, hard = resource.getrlimit(kind)
    most = used + num_bytes
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def main(check: Check = check_media) -> None:
    """Serve as the command line says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that started this one
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _, fd, options, checks, *fingerprinted = sys.argv
    connection = Connection(int(fd))
    load_fingerprints(fingerprinted)
    try:
        serve(connection, SandboxOptions.model_validate_json(options), CheckOptions.model_validate_json(checks), check)
    except (EOFError, OSError):  # the other side is gone
        os._exit(0)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


if __name__ == "__main__":
    main()
