"""Near duplicates: pictures coded anew, sounds with another gain or codec, texts with a word changed.

    pictures, sounds, texts   a content -> its fingerprint: a key that finds, a proof that verifies
    kinds     the three of them under one interface
    index     fingerprints on disk, by content id: a content is never fingerprinted twice
    search    keys -> pairs that share a band (locality-sensitive hashing)
    finder    contents as ingest meets them -> Neighbours
    clusters  Neighbours: verified pairs and the clusters that they join
    handling  which rows are near duplicates of which, for `flag` and `drop`
    leaks     test samples that train holds too, and the gate on their share
    report    what was found, beside the ledger   (table: for the dashboards)

This module stays light, since the configuration imports the options from here.
"""
