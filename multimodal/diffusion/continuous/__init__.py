"""Continuous diffusion: stochastic differential equations, their reversal, and text diffused through vectors.

sde          forward processes: variance-preserving and variance-exploding
randomness   noise from one generator, or from one per row
predictors   steps of the reversed process: Euler-Maruyama, ancestral, probability flow
metropolis   the rule that keeps or refuses a proposal
correctors   Langevin steps at one time, Metropolis-adjusted or not
sampling     the predictor-corrector loop
container    particles between reflecting walls, whose stationary density is known
text         what diffusions of text share
embeddings   Gaussian diffusion of token embeddings
simplex      diffusion of near one-hot logits, block by block

`t` runs from 0, clean, to 1, noise, as everywhere; here x_t = scale(t) x_0 + std(t) z.
"""
