"""The lake: tables that leave the engine, and captures that come in from elsewhere."""

from data_controller.lake.columns import schema_of
from data_controller.lake.importers import import_cryptofeed, import_frames
from data_controller.lake.tables import Tables, TableWriter, read_table

__all__ = ["TableWriter", "Tables", "import_cryptofeed", "import_frames", "read_table", "schema_of"]
