"""Tests of `multimodal.evaluation`."""
