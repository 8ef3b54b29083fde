from __future__ import annotations

import subprocess
import sys
import time
from functools import partial

import psutil
import pytest

from multimodal.errors import MediaError, MultimodalError
from multimodal.ingest.media import check_media
from multimodal.ingest.options import CheckOptions, SandboxOptions
from multimodal.ingest.reasons import Reason
from multimodal.ingest.sandbox import Sandbox
from multimodal.ingest.sandbox_worker import OUT_OF_MEMORY
from multimodal.sample import Modality, content_digest

CHECKS = CheckOptions()
FAULTY = "tests.hostile.faulty_worker"
ORDERS = {
    b"hang": Reason.DECODER_TIMEOUT,
    b"crash": Reason.DECODER_CRASHED,
    b"leave": Reason.DECODER_CRASHED,
    b"swell": Reason.DECODER_MEMORY,
    b"swell slowly": Reason.DECODER_MEMORY,
    b"refuse": Reason.WRONG_FORMAT,
}


def inspect(files, worker=FAULTY, **options):
    """What becomes of files: their content ids, or the reasons why not."""
    with Sandbox(CHECKS, SandboxOptions(**{"workers": 1, "timeout_seconds": 2, **options}), worker=worker) as sandbox:
        results = list(sandbox.inspect((partial(bytes, data), Modality.IMAGE) for data in files))
    return [result.reason if isinstance(result, MediaError) else result[0].content_id for result in results]


def test_each_misfortune_costs_one_file():
    """Between good files in one batch: a hang, crashes and two kinds of swelling take nothing else with them."""
    files = [b"first"]
    for order in ORDERS:
        files += [order, b"after " + order]
    assert inspect(files, memory_mib=64) == [ORDERS.get(data, content_digest(data)) for data in files]


def test_results_are_in_order_whoever_is_faster():
    """Two workers and many batches, one with a death: as many results as files, each its own."""
    files = [b"leave" if number == 37 else b"%d" % number for number in range(80)]
    assert inspect(files, workers=2) == [ORDERS.get(data, content_digest(data)) for data in files]


def test_the_reason_says_what_happened():
    """Name of the signal, exit status, and the caps are in the detail."""
    with Sandbox(CHECKS, SandboxOptions(workers=1, timeout_seconds=1, memory_mib=64), worker=FAULTY) as sandbox:
        files = [b"crash", b"leave", b"hang", b"swell"]
        results = list(sandbox.inspect((partial(bytes, data), Modality.IMAGE) for data in files))
    details = [result.detail for result in results if isinstance(result, MediaError)]
    assert "SIGSEGV" in details[0] and "exit status 3" in details[1]
    assert "1 s" in details[2] and "64 MiB" in details[3]


def test_a_file_too_large_for_the_worker_is_out_of_memory():
    """Bytes that do not even fit into the process are blamed on the file that they are of, not on its neighbours."""
    files = [b"a", bytes(100 * 2**20), b"b"]
    assert inspect(files, memory_mib=64) == [content_digest(b"a"), Reason.DECODER_MEMORY, content_digest(b"b")]
    assert OUT_OF_MEMORY not in (0, 1, 2)


def test_the_sandbox_finds_what_the_decoder_finds(picture, sound):
    """Through the real worker process, a good and a bad file have the facts and reasons of `check_media`."""
    media = [(picture(), Modality.IMAGE), (sound(), Modality.AUDIO), (picture()[:300], Modality.IMAGE)]
    with Sandbox(CHECKS, SandboxOptions(workers=1)) as sandbox:
        found = list(sandbox.inspect((partial(bytes, data), modality) for data, modality in media))
    for (data, modality), result in zip(media[:2], found, strict=False):
        assert not isinstance(result, MediaError)
        assert (result[0].data, result[1]) == (data, check_media(data, modality, CHECKS))
    assert isinstance(found[2], MediaError) and found[2].reason == Reason.TRUNCATED_IMAGE


def test_a_worker_that_cannot_start_is_no_fault_of_the_files():
    """A broken installation stops the run with a clear error; no row is blamed."""
    with pytest.raises(MultimodalError, match=r"do not start: .*no_such_module"):
        inspect([b"x"], worker="multimodal.no_such_module")


def test_workers_need_no_torch():
    """The worker's imports are light: it starts in a moment and its memory cap is its own."""
    code = "import multimodal.ingest.sandbox_worker, sys; sys.exit({'torch', 'pyarrow'} & set(sys.modules) != set())"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


ORPHANED = """
import os, sys
from functools import partial
from multimodal.ingest.options import CheckOptions, SandboxOptions
from multimodal.ingest.sandbox import Sandbox
from multimodal.sample import Modality
sandbox = Sandbox(CheckOptions(), SandboxOptions(workers=1, timeout_seconds=3), worker="tests.hostile.faulty_worker")
read = sandbox.inspect((partial(bytes, data), Modality.IMAGE) for data in [b"x"] * 16 + [b"hang"] * 16)
next(read)
os.kill(os.getpid(), 9)
"""


def test_no_worker_outlives_its_program():
    """A program killed while a file hangs leaves no process behind: the worker's own timer ends it."""
    before = {process.pid for process in psutil.process_iter()}
    subprocess.run([sys.executable, "-c", ORPHANED], stdout=subprocess.DEVNULL, check=False)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and (left := _workers(before)):
        time.sleep(0.2)
    assert left == []


def _workers(before):
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        if process.pid not in before and "tests.hostile.faulty_worker" in (process.info["cmdline"] or []):
            found.append(process.pid)
    return found
