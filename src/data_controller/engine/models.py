"""Which bundle a config names, loaded once, with the ladder that runs it."""

from __future__ import annotations

from pathlib import Path

from data_controller.config import Config
from data_controller.features.catalogue import COLUMNS, catalogue_hash
from data_controller.features.parameters import load_parameters
from data_controller.prediction.bundle import Bundle, load, shipped
from data_controller.prediction.ladder import Ladder


class Models:
    """Holds the ladder of the last config asked for."""

    def __init__(self) -> None:
        self.ladder: Ladder | None = None
        self._key: tuple[str, str] | None = None

    def bundle_of(self, config: Config) -> Bundle:
        """The bundle of `config`; raises BundleError where it does not fit its features."""
        path = Path(config.prediction.bundle) if config.prediction.bundle else shipped()
        wanted = catalogue_hash(config.features, load_parameters(config.features.parameters))
        key = (str(path), wanted + config.prediction.model_dump_json())
        if self._key != key or self.ladder is None:
            self.ladder = Ladder(config.prediction, load(path, wanted, list(COLUMNS)))
            self._key = key
        return self.ladder.bundle
