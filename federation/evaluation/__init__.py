"""Leak-free evaluation of personalised ranking: the task, the measures, the scorers and the baselines."""
