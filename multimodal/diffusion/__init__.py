"""Discrete diffusion over tokens: schedule, process, loss and sampler, with no network in them.

Convention, used everywhere: `x_0` is clean text, `x_t` noisy text, `t` in [0, 1]; `alpha(t)` is the probability that
a token is still clean, alpha(0) = 1 and alpha(1) = 0. A *denoiser* maps noisy tokens [rows, length] to logits
[rows, length, vocab]; it is not told `t`, since for the absorbing process `x_t` says all that matters about it
(RADD, Ou et al. 2024). `nfe` counts its calls.
"""
