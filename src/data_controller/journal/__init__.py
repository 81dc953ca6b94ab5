"""The journal: every record in order, made durable off the loop, and read back as the same batches."""

from data_controller.journal.arena import FULL, Arena
from data_controller.journal.reader import Damage, JournalInfo, Reader, info, journals_of, read
from data_controller.journal.recorder import Recorder, State
from data_controller.journal.recovery import Recovered, recover
from data_controller.journal.settings import JournalSettings

__all__ = [
    "FULL",
    "Arena",
    "Damage",
    "JournalInfo",
    "JournalSettings",
    "Reader",
    "Recorder",
    "Recovered",
    "State",
    "info",
    "journals_of",
    "read",
    "recover",
]
