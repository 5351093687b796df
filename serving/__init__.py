"""What a decision needs: models as they are applied, releases, the store and the HTTP service.

Imports `features`; never `training`, never mlflow.
"""
