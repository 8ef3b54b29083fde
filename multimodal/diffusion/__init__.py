"""Diffusion over tokens, and in `continuous` over vectors in their place: schedules, processes, losses and samplers,
with no network in them.

Convention, used everywhere: `x_0` is clean text, `x_t` noisy text, `t` in [0, 1]; `alpha(t)` is the probability that
a token is still clean, alpha(0) = 1 and alpha(1) = 0. A *denoiser* maps noisy tokens [rows, length] to logits
[rows, length, vocab]; it is not told `t`: for masks `x_t` says all that matters about it (RADD, Ou et al. 2024), for
visible tokens `processes` adds what `t` says. `nfe` counts its calls.
"""

_MASK_SAMPLERS = (
    "confidence",
    "entropy",
    "safe",
    "scheduled",
    "best_first",
    "ancestral",
    "remasking",
    "mask_predict",
    "posterior",
)

SAMPLERS_OF: dict[str, tuple[str, ...]] = {
    "absorbing": _MASK_SAMPLERS,
    "uniform": ("renoising", "posterior"),
    "speculative": _MASK_SAMPLERS,
    "hybrid": ("revision", "renoising", *_MASK_SAMPLERS),
}
"""Process -> the samplers that go with it, its own first: `samplers` revise only what a process taught to revise, and
samplers that unmask need masks. Here, where nothing heavy is imported, so that configurations can be checked."""


def sampler_for(process: str, kind: str) -> str:
    """The name of the sampler to use: `auto` is the process's own.

    Raises:
        ValueError: `kind` does not go with the process.
    """
    fitting = SAMPLERS_OF[process]
    if kind != "auto" and kind not in fitting:
        raise ValueError(f"sampler '{kind}' does not go with the process '{process}'; auto, {', '.join(fitting)} do")
    return fitting[0] if kind == "auto" else kind
