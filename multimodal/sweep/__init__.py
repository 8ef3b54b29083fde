"""Model selection: many trainings of one pipeline, each with other options, the best found by its sampled val score.

options.py   what a sweep file says: base configuration, search space, number of trials
study.py     the trials: asked for and told to Optuna, kept in SQLite, gone on with after an interruption
trial.py     one trial: a training that reports its score as it goes and may be pruned
plots.py     its pictures: importance of the keys, scores by trial, learning curves
results.py   what is written of it: best.yaml, trials.json, the importance plot, sweep.html
"""
