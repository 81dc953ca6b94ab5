"""Exporters: rows of a journal in the formats of other programs."""

from data_controller.lake.exporters._base import Chunk, DraftFolder, Exporter
from data_controller.lake.exporters.freqtrade import FreqtradeExporter
from data_controller.lake.exporters.hftbacktest import HftbacktestExporter
from data_controller.lake.exporters.parquet import ParquetExporter
from data_controller.lake.exporters.tardis import TardisExporter

__all__ = [
    "Chunk",
    "DraftFolder",
    "Exporter",
    "FreqtradeExporter",
    "HftbacktestExporter",
    "ParquetExporter",
    "TardisExporter",
]
