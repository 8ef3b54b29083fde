"""Decoding in processes of its own: a file that crashes, hangs or swells its decoder costs one row, not the run.

Each worker process (`multimodal.ingest.sandbox_worker`) is given a batch of files at a time and answers once for all
of them. When it dies, the files of that batch are tried again one by one, and the one that kills a process all by
itself is the one to blame. Nothing that comes back from a worker is unpickled.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from multimodal.errors import MediaError, MultimodalError
from multimodal.ingest.media import Extra, MediaFacts
from multimodal.ingest.memory import Answer, IngestMemory, checks_key
from multimodal.ingest.options import CheckOptions, SandboxOptions
from multimodal.ingest.reasons import Reason
from multimodal.ingest.sandbox_worker import OUT_OF_MEMORY, READY, pack
from multimodal.sample import Content, Modality, UnreadContent, content_digest, read_unchanged

if TYPE_CHECKING:
    from multimodal.ingest.duplicates.finder import NearDuplicateFinder

WORKER = "multimodal.ingest.sandbox_worker"
FILES_PER_BATCH = 16
FILES_PER_LOOKUP = 256
BATCH_BYTES = 8 * 2**20
START_SECONDS = 120
GRACE_SECONDS = 5
"""A worker is killed by its own timer; this much later it is killed from outside, should that timer be gone."""


class Media(NamedTuple):
    """A file to look at.

    Args:
        read: gives its bytes; raises MediaError.
        modality: what it should hold.
        content_id: of its bytes where that is known: if they were decoded before, the file is not even read.
        extra: what is asked beside the facts; fingerprints are made of what lacks one, asked for or not.
    """

    read: Callable[[], bytes]
    modality: Modality
    content_id: str = ""
    extra: Extra = Extra.NONE

    @property
    def key(self) -> ContentKey:
        """What a memory knows it by."""
        return self.content_id, self.modality


ContentKey = tuple[str, Modality]

Result = tuple[Content | UnreadContent, MediaFacts] | MediaError

Answered = tuple["MediaFile | Media", Answer] | MediaError
"""A file, read or not, with what its worker says of it, or what is wrong with it."""


class Sandbox:
    """Worker processes, started when the first file comes and kept until the block ends.

    Args:
        checks: what a file must keep.
        options: number of processes and their caps.
        memory: what it knows is not decoded again.
        worker: module that they run (tests have one that misbehaves).
        near: says which contents lack a fingerprint; they are decoded even if memory knows them.
    """

    def __init__(
        self,
        checks: CheckOptions,
        options: SandboxOptions,
        memory: IngestMemory | None = None,
        worker: str = WORKER,
        near: NearDuplicateFinder | None = None,
    ) -> None:
        self._checks, self._options, self._module, self._near = checks, options, worker, near
        self._memory, self._checks_key = memory, checks_key(checks)
        self._size = options.workers or min(8, _available_cores())
        self._threads = ThreadPoolExecutor(self._size, thread_name_prefix="sandbox")
        # Last in, first out: a worker that runs is used before another is started.
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(self._size):
            self._idle.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        while not self._idle.empty():
            if (worker := self._idle.get()) is not None:
                worker.kill()

    def inspect(self, media: Iterable[Media]) -> Iterator[Result]:
        """Read and decode files; results in the order of the files, few batches ahead of the consumer.

        Raises:
            MultimodalError: the worker processes do not start.
            DatasetError: a file does not hold the content that it is known to.
        """
        for answer in self.answers(media):
            yield answer if isinstance(answer, MediaError) else _result(*answer)

    def answers(self, media: Iterable[Media]) -> Iterator[Answered]:
        """The same for a worker of one's own, whose answers are what its check returns, as JSON values."""
        rest = (Media(*one) for one in media)
        while look_up := list(islice(rest, FILES_PER_LOOKUP)):
            known = self._known([one for one in look_up if one.content_id])
            unknown = self._unknown(one for one in look_up if one.key not in known)
            for one in look_up:
                yield _answered(one, known[one.key]) if one.key in known else next(unknown)

    def _unknown(self, media: Iterable[Media]) -> Iterator[Answered]:
        pending: deque[Future[list[Answered]]] = deque()
        rest = iter(media)
        while batch := list(islice(rest, FILES_PER_BATCH)):
            pending.append(self._threads.submit(self._inspect_batch, batch))
            if len(pending) > self._size:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()

    def _inspect_batch(self, batch: Sequence[Media]) -> list[Answered]:
        read = [_read(one) for one in batch]
        files = [one for one in read if isinstance(one, MediaFile)]
        known = self._known(files)
        new = [file for file in files if file.key not in known]
        lacking = self._lacking([file.key for file in new])
        new = [replace(file, extra=Extra.FINGERPRINT) if file.key in lacking else file for file in new]
        decoded = [answered for part in _parts(new) for answered in self._decode(part)]
        if self._memory is not None:
            answers = {file.key: _remembered(answered) for file, answered in zip(new, decoded, strict=True)}
            self._memory.keep_answers(self._checks_key, answers)
        rest = iter(decoded)
        return [
            one if isinstance(one, MediaError) else _answered(one, known[one.key]) if one.key in known else next(rest)
            for one in read
        ]

    def _known(self, files: Sequence[Media | MediaFile]) -> dict[ContentKey, Answer]:
        """What memory knows of those files that need not be decoded."""
        if self._memory is None or not files:
            return {}
        known = self._memory.answers(self._checks_key, [file.key for file in files])
        well = [key for key, answer in known.items() if "reason" not in answer]
        lacking = self._lacking(well)
        asked = {file.key for file in files if file.extra}
        lacking.update(key for key in well if key in asked and not known[key].get("decoded"))
        return {key: answer for key, answer in known.items() if key not in lacking}

    def _lacking(self, keys: Sequence[ContentKey]) -> set[ContentKey]:
        return self._near.lacking(keys) if self._near is not None else set()

    def _decode(self, files: Sequence[MediaFile]) -> list[Answered]:
        """One answer per file, however many workers that takes."""
        answers = self._ask(files)
        if not isinstance(answers, MediaError):
            return [_answered(file, answer) for file, answer in zip(files, answers, strict=True)]
        return [answers] if len(files) == 1 else [answer for file in files for answer in self._decode([file])]

    def _ask(self, files: Sequence[MediaFile]) -> list[Answer] | MediaError:
        """The answers of one worker, or what it died of."""
        worker = self._idle.get()
        try:
            if worker is None:
                fingerprinted = sorted(self._near.decoded) if self._near is not None else []
                worker = _Worker(self._checks, self._options, self._module, fingerprinted)
            return worker.ask(files) or worker.bury()
        finally:
            self._idle.put(worker if worker is not None and worker.is_alive else None)


@dataclass(frozen=True, slots=True)
class MediaFile:
    """The bytes of a file, and what it should hold."""

    data: bytes
    modality: Modality
    content_id: str
    extra: Extra = Extra.NONE

    @property
    def key(self) -> ContentKey:
        """What a memory knows it by."""
        return self.content_id, self.modality


class _Worker:
    """One process and the connection to it."""

    def __init__(
        self, checks: CheckOptions, options: SandboxOptions, module: str, fingerprinted: Sequence[Modality]
    ) -> None:
        self._options = options
        self._connection, theirs = Pipe()
        self.is_alive, self._is_late = True, False
        root = str(Path(__file__).parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        # One thread each: the processes are the parallelism, and threads of BLAS would eat their memory.
        env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        arguments = [str(theirs.fileno()), options.model_dump_json(), checks.model_dump_json(), *fingerprinted]
        with tempfile.TemporaryFile() as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *arguments],
                env=env, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stderr=errors,
            )  # fmt: skip
            theirs.close()
            if not self._connection.poll(START_SECONDS) or self._receive() != READY:
                self.kill()
                errors.seek(0)
                last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
                raise MultimodalError(f"the decoding processes do not start: {''.join(last) or 'no answer'}")

    def ask(self, files: Sequence[MediaFile]) -> list[Answer]:
        """One answer per file; none at all where the process ends before it has them all."""
        try:
            self._connection.send_bytes(pack([(file.data, file.modality, file.extra) for file in files]))
        except OSError:  # it died while reading
            return []
        if not self._connection.poll(self._options.timeout_seconds * len(files) + GRACE_SECONDS):
            self._is_late = True
            self._process.kill()
        answers: list[Answer] = json.loads(self._receive() or b"[]")
        return answers

    def bury(self) -> MediaError:
        """What the process died of; it has ended, or is about to."""
        try:
            code = self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._is_late = True
            code = 0
        self.kill()
        if self._is_late or code == -signal.SIGALRM:
            return MediaError(Reason.DECODER_TIMEOUT, f"not decoded within {self._options.timeout_seconds:g} s")
        if code == OUT_OF_MEMORY:
            return MediaError(Reason.DECODER_MEMORY, f"needs more than {self._options.memory_mib} MiB to be decoded")
        what = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return MediaError(Reason.DECODER_CRASHED, f"the decoder ended with {what}")

    def kill(self) -> None:
        """End the process, where it has not ended itself."""
        self.is_alive = False
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _receive(self) -> bytes | None:
        try:
            return self._connection.recv_bytes()
        except (EOFError, OSError):
            return None


def _read(media: Media) -> MediaFile | MediaError:
    if media.content_id:
        data = read_unchanged(media.read, media.content_id)
        return MediaFile(data, media.modality, media.content_id, media.extra)
    try:
        data = media.read()
        return MediaFile(data, media.modality, content_digest(data), media.extra)
    except MediaError as error:
        return error.alone()


def _parts(files: Iterable[MediaFile]) -> Iterator[list[MediaFile]]:
    """The files in order, cut where a part would hold more than `BATCH_BYTES`."""
    part: list[MediaFile] = []
    for file in files:
        if part and sum(len(one.data) for one in part) + len(file.data) > BATCH_BYTES:
            yield part
            part = []
        part.append(file)
    if part:
        yield part


def _answered(file: MediaFile | Media, answer: Answer) -> Answered:
    if "reason" in answer:
        return MediaError(Reason(answer["reason"]), answer["detail"], answer.get("measures"))
    return file, answer


def _remembered(answered: Answered) -> Answer:
    """What memory keeps: fingerprints have an index of their own."""
    if not isinstance(answered, MediaError):
        return {name: value for name, value in answered[1].items() if name != "fingerprint" and value != ""}
    return {"reason": answered.reason, "detail": answered.detail, "measures": answered.measures}


def _result(file: MediaFile | Media, answer: Answer) -> Result:
    facts = MediaFacts(**answer)
    if isinstance(file, MediaFile):
        return Content(file.content_id, file.modality, file.data), facts
    return UnreadContent(file.content_id, file.modality, int(facts.measures["bytes"]), file.read), facts


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
