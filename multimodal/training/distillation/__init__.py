"""Distillation of a trained decoder into one that needs fewer steps (SDTT, Deschenaux & Gulcehre 2024).

options     what can be said about it
objective   what one round minimises
rounds      rounds in order: each is a training that starts from its teacher
"""
