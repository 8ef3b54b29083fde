"""Turn folders of pictures, sound and text into a model that writes captions and transcripts by diffusion.

Importing this package does no work and loads no heavy library. Start at `multimodal.config` for what can be
configured, or at `flows/pipeline.py` for the whole job on one page.
"""

__version__ = "0.1.0"
