"""Trainings that do not start from nothing.

options     what can be said about them
start       a saved decoder to go on from: where it is, its growth by new tasks, styles and modalities
backbone    a pretrained masked language model as the decoder's blocks
trainable   frozen parts, and low-rank adapters in their stead
rehearsal   old samples among the new ones, and how much is forgotten
"""
