"""What is known about a customer at an instant: events, the log, views, windows, features.

Imports nothing from `serving` or `training`, and knows no HTTP, MLflow or BentoML.
"""
