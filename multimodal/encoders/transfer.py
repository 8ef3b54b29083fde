"""Batches on their way to a GPU: two pinned buffers, one being filled and copied while the model reads the other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

ALIGNMENT = 16
"""Bytes to which each tensor's place in a buffer is rounded up, so that every dtype may lie there."""


class PinnedBuffers:
    """Copies lists of tensors to a device through page-locked memory, on a stream of its own, without waiting.

    Args:
        device: where to; on a device that is no GPU the same copies are made, unpinned and at once.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._buffers: list[Tensor | None] = [None, None]
        self._copied: list[torch.cuda.Event | None] = [None, None]
        self._turn = 0

    def upload(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The same tensors on the device; `arrive` makes a consumer wait for them."""
        starts = [0]
        for tensor in tensors:
            starts.append(starts[-1] + -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT)
        buffer = self._free_buffer(starts[-1])
        for tensor, start in zip(tensors, starts, strict=False):
            buffer[start : start + tensor.nbytes].copy_(tensor.contiguous().view(-1).view(torch.uint8))
        with torch.cuda.stream(self._stream) if self._stream else nullcontext():
            there = buffer[: starts[-1]].to(self._device, non_blocking=True, copy=True)
            if self._stream is not None:
                self._copied[self._turn] = self._stream.record_event()
        self._turn = 1 - self._turn
        return [
            there[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
            for tensor, start in zip(tensors, starts, strict=False)
        ]

    def arrive(self, tensors: Sequence[Tensor]) -> None:
        """Let the current stream wait for what was uploaded, and keep its memory until that stream is done with it."""
        if self._stream is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_stream(self._stream)
            for tensor in tensors:
                tensor.record_stream(current)

    def _free_buffer(self, size: int) -> Tensor:
        """The buffer whose turn it is, once nothing is copied from it any more."""
        copied, buffer = self._copied[self._turn], self._buffers[self._turn]
        if copied is not None:
            copied.synchronize()
        if buffer is None or len(buffer) < size:
            buffer = torch.empty(size, dtype=torch.uint8, pin_memory=self._stream is not None)
            self._buffers[self._turn] = buffer
        return buffer


def one_ahead(source: Iterable[T]) -> Generator[T, None, None]:
    """The same items, of which the next is made in a thread while one is worked on; errors come where they belong."""
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(maxsize=1)
    stopped = threading.Event()

    def hand_over(item: tuple[bool, Any]) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            for item in source:
                if not hand_over((True, item)):
                    return
            hand_over((False, None))
        except BaseException as error:  # whoever consumes gets it
            hand_over((False, error))

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            is_item, value = ready.get()
            if not is_item:
                if value is not None:
                    raise value
                return
            yield value
    finally:
        stopped.set()
        thread.join()
