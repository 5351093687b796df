"""The job behind `holdfast features build --table`: a newer table of the same columns, for the service to answer from.

Nothing is learnt; the release stays as it is, and only what is known of its customers is renewed.
"""

from __future__ import annotations

from features.errors import ConfigurationError
from features.instants import format_instant
from features.workspace import Workspace
from serving.releases import load_named
from training.batch_scoring import default_release
from training.feature_jobs import BuiltFeatures
from training.log_data import Progress, silent
from training.table_scoring import GivenTable, read_given

__all__ = ["refresh_table"]


def refresh_table(
    workspace: Workspace, given: GivenTable, *, release_name: str | None = None, progress: Progress = silent
) -> BuiltFeatures:
    """Read a table in the columns of a release and keep it as the newest stored one; a label in it is passed over.

    The release is by default the one that is served, else the one made last. Customers of the former table who are not
    in this one are not answered about any more.

    Raises:
        ConfigurationError: there is no such file or id column, the release reads the event log, or a later table is
            stored, or the labelled one of this very instant.
        DataError: a column is missing or of another kind than in training; the message names it.
        ArtefactError: there is no such release, or it was altered.
    """
    release = load_named(release_name or default_release(workspace), workspace)
    if release.table is None:
        raise ConfigurationError(f"{release.name} reads the event log, not a table; leave out --table")
    progress("reading the table")
    rows = read_given(workspace, release.table, given)
    progress("storing the table for the service")
    path = rows.store(workspace)
    as_of = format_instant(rows.as_of_us)
    return BuiltFeatures(path, as_of, len(rows.keys), len(release.table), release.table.fingerprint(), rows.notes)
