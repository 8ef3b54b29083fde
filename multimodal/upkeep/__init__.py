"""Upkeep of a workspace's latents: what is there, who needs it, and what may go.

needs    which datasets and model packages of a workspace need which contents of which encoder
stores   one line per store
garbage  what nothing needs any more, and its removal
"""

from multimodal.upkeep.garbage import Garbage, GarbageList, find_garbage, remove_garbage
from multimodal.upkeep.stores import StoreSummary, list_stores

__all__ = ["Garbage", "GarbageList", "StoreSummary", "find_garbage", "list_stores", "remove_garbage"]
