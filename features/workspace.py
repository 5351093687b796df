"""Where one shop's data, keys, models and state lie on disk: a folder, and the names inside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Workspace"]


@dataclass(frozen=True)
class Workspace:
    """The paths of one shop. Making the object touches nothing.

    `store_url` names the service's database where it is no file in the folder; it may hold a password.
    """

    root: Path
    store_url: str | None = field(default=None, repr=False)

    @property
    def event_log(self) -> Path:
        """The sealed event log, a Delta table."""
        return self.root / "log" / "events"

    @property
    def items(self) -> Path:
        """The item table, a Delta table."""
        return self.root / "log" / "items"

    @property
    def customers(self) -> Path:
        """The customer table, a Delta table; no direct identifiers."""
        return self.root / "log" / "customers"

    @property
    def identities(self) -> Path:
        """The one table that joins pseudonyms to outside ids."""
        return self.root / "identities"

    @property
    def met_identities(self) -> Path:
        """Outside ids that the service met first, until they are sealed into the table; readable by the owner alone."""
        return self.root / "identities-met.db"

    @property
    def pseudonym_keys(self) -> Path:
        """The keys of the pseudonyms; readable by the owner alone."""
        return self.root / "keys" / "pseudonyms.json"

    @property
    def release_signing_key(self) -> Path:
        """The key that signs the releases made here; readable by the owner alone, never needed to serve."""
        return self.root / "keys" / "release-signing.json"

    @property
    def trusted_release_keys(self) -> Path:
        """The public keys whose releases are loaded; no secret."""
        return self.root / "keys" / "release-trusted.json"

    @property
    def quarantine(self) -> Path:
        """Rows that an import could not accept, one file an import."""
        return self.root / "quarantine"

    @property
    def snapshots(self) -> Path:
        """Feature tables as built, one Parquet file a cut-off."""
        return self.root / "snapshots"

    @property
    def recipes(self) -> Path:
        """The shop's own recipes of placements, one TOML file each; where there is none, those that are shipped."""
        return self.root / "recipes"

    @property
    def scores(self) -> Path:
        """Books of scores, one Parquet file a scoring; see `serving.score_book`."""
        return self.root / "scores"

    @property
    def monitored(self) -> Path:
        """What `holdfast monitor` found last, as JSON; no customer's data."""
        return self.root / "monitored.json"

    @property
    def mlflow_database(self) -> Path:
        """MLflow's tracking and registry database."""
        return self.root / "mlflow" / "mlflow.db"

    @property
    def mlflow_artefacts(self) -> Path:
        """The folder of MLflow's artefacts."""
        return self.root / "mlflow" / "artefacts"

    @property
    def releases(self) -> Path:
        """Releases as assembled, one folder each."""
        return self.root / "releases"

    @property
    def bentoml_home(self) -> Path:
        """BentoML's home, with its model store."""
        return self.root / "bentoml"

    @property
    def store(self) -> Path | str:
        """The service's own database: accepted events, decisions, rollout. A file, unless a URL is given."""
        return self.store_url or self.root / "service.db"

    @property
    def limits(self) -> Path:
        """How often callers called lately, where the store is a file; nothing that a backup needs."""
        return self.root / "limits.db"

    @property
    def truth(self) -> Path:
        """What only a simulation knows; no feature reads it."""
        return self.root / "truth"
