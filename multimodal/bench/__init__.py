"""Comparisons of decoders under equal conditions: one dataset, its latents, the same batches, steps and seeds.

options.py         what a comparison's file says: contenders, seeds, budget, sampler curves
gpt2.py            the autoregressive twin as transformers builds it: GPT-2 with cross-attention, and `generate`
contenders.py      which decoder, trainer and generator a contender has; its trainings, kept and found again
texts.py           what every checkpoint writes for the test items at every point of its curves, kept likewise
speed.py           latency, and training throughput against a bare loop
scores.py          metrics with intervals, spread over seeds, paired differences
verdicts.py        each goal of the comparison with what was measured
run.py             all of it in order
results.py         JSON, table, plots and page
"""
