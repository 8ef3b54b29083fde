"""How well a picture or a sound goes with its text: scored, shown, and filtered by.

A score is the cosine of the content's pooled vector, which the latent store holds, and the text's vector by the same
encoder's text side (CLIPScore without its factor, Hessel et al., 2021; the filter is that of LAION, Schuhmann et al.,
2022, and of DataComp's baselines, Gadre et al., 2023).

    pair-scores/<encoder fp>/scores-*.parquet   every score of an encoder, by content and text: computed once
    pairs/<fp>/part-*.parquet                   a dataset's samples with their scores, and whether they stay
    pairs/<fp>/ledger-*.parquet                 those that do not, as rows of a ledger with a typed reason
    pairs/<fp>/index.json                       dataset, counts, thresholds, SHA-256 of the files

    options     which pairs stay
    known       scores by content and text
    scoring     the pairs whose score is not known yet
    choosing    who stays, written down
    table       a dataset's scores, read again
    filtered    the dataset without those that were left out

The dataset itself never changes. This module stays light, since the configuration imports the options from here.
"""
