"""Importers: foreign captures become journals, line for line, and what cannot be read is counted and kept aside."""

from data_controller.lake.importers.collectors import import_bitstamp_log, import_hftbacktest, import_ndjson
from data_controller.lake.importers.cryptofeed import import_cryptofeed
from data_controller.lake.importers.frames import MADE_UP_START_NS, import_frames
from data_controller.lake.importers.table import import_table
from data_controller.lake.importers.tardis import import_tardis

__all__ = [
    "MADE_UP_START_NS",
    "import_bitstamp_log",
    "import_cryptofeed",
    "import_frames",
    "import_hftbacktest",
    "import_ndjson",
    "import_table",
    "import_tardis",
]
