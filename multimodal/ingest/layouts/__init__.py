"""Readers of public corpora in the layouts that they are published in: nothing need be said but the folder."""
