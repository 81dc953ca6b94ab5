"""Exporters: rows of a journal or a lake in the formats of other programs."""

from data_controller.lake.exporters._base import Chunk, DraftFolder, Exporter, with_breaks
from data_controller.lake.exporters.freqtrade import FreqtradeExporter
from data_controller.lake.exporters.hftbacktest import HftbacktestExporter
from data_controller.lake.exporters.parquet import ParquetExporter
from data_controller.lake.exporters.source import LakeSource, Slice
from data_controller.lake.exporters.tardis import TardisExporter

__all__ = [
    "Chunk",
    "DraftFolder",
    "Exporter",
    "FreqtradeExporter",
    "HftbacktestExporter",
    "LakeSource",
    "ParquetExporter",
    "Slice",
    "TardisExporter",
    "with_breaks",
]
