"""Lineage: from one input row to the scores that it moved.

find         the row that somebody means by an id, a URI or a file
life         what is known of it: source, fate, checks, duplicates, group and split, contents
latents      which encoders hold its latents
evaluations  what models wrote for it, and how that was scored
"""

from multimodal.lineage.evaluations import Written
from multimodal.lineage.find import find_row
from multimodal.lineage.latents import StoredLatents, encoder_names
from multimodal.lineage.life import Life, life_of

__all__ = ["Life", "StoredLatents", "Written", "encoder_names", "find_row", "life_of"]
