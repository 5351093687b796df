"""Rollouts: which release serves whom, the plan that widens one by evidence, and the log of every change."""
