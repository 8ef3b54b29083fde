"""Endless scenes, utterances and sentences: what the sample corpus and the sample encoders are made from."""
