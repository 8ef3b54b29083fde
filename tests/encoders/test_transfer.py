"""Double buffers and the thread that keeps one item ahead."""

from __future__ import annotations

import threading

import pytest
import torch

from multimodal.encoders.transfer import PinnedBuffers, one_ahead


def test_what_is_uploaded_is_what_was_given():
    """Any dtype and shape; what was uploaded before stays as it was while the buffers are used again."""
    buffers = PinnedBuffers(torch.device("cpu"))
    lists = [
        [torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8), torch.randn(11), torch.arange(9)[::2]] for _ in range(6)
    ] + [[torch.randn(200, 3).T], []]
    uploaded = [buffers.upload(tensors) for tensors in lists]
    for tensors, there in zip(lists, uploaded, strict=True):
        buffers.arrive(there)
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(tensors, there, strict=True))


def test_one_item_is_made_ahead():
    """While one is worked on the next is made, and no more than one waits."""
    made, second = [], threading.Event()

    def items():
        for number in range(5):
            made.append(number)
            if number == 1:
                second.set()
            yield number

    ahead = one_ahead(items())
    assert next(ahead) == 0 and second.wait(5)
    assert [*ahead] == [1, 2, 3, 4] and made == [0, 1, 2, 3, 4]


def test_errors_come_where_they_belong():
    """After the items that were made before."""

    def items():
        yield 1
        raise ValueError("broken")

    ahead = one_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="broken"):
        next(ahead)


def test_a_consumer_that_stops_ends_the_thread():
    """Nothing is left running."""
    before = threading.active_count()
    ahead = one_ahead(iter(range(100)))
    next(ahead)
    ahead.close()
    assert threading.active_count() == before
