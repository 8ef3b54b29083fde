"""Training of the decoder: from a dataset and its latents to checkpoints."""
