"""From a shop's own files to events: a mapping says what the columns mean, a stream of batches does the rest."""

from features.importing.job import DEFAULT_MAX_QUARANTINED_SHARE, import_file
from features.importing.mapping import Mapping, load_mapping
from features.importing.report import ImportReport, ReasonCount
from features.importing.table_job import import_table

__all__ = [
    "DEFAULT_MAX_QUARANTINED_SHARE",
    "ImportReport",
    "Mapping",
    "ReasonCount",
    "import_file",
    "import_table",
    "load_mapping",
]
