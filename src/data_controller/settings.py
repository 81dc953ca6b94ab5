"""What every config section is made of: frozen, unknown keys refused, hot or restart by field, secrets by reference."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_controller.errors import ConfigError


class Section(BaseModel):
    """A frozen part of the config tree; an unknown key is an error. Rooms subclass it in their `settings.py`."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


def hot(default: Any = ..., **constraints: Any) -> Any:
    """A field that a reload may change while the engine runs; `constraints` go to pydantic's Field."""
    return Field(default, json_schema_extra={"reload": "hot"}, **constraints)


def restart(default: Any = ..., **constraints: Any) -> Any:
    """A field that a reload refuses, by name; `constraints` go to pydantic's Field."""
    return Field(default, json_schema_extra={"reload": "restart"}, **constraints)


class Secret(Section):
    """Where a secret lies, never the secret itself: in YAML `{env: NAME}` or `{file: PATH}`; it prints as that."""

    env: str | None = Field(None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="environment variable that holds it")
    file: Path | None = Field(
        None, description="file that holds it; `~` is the home directory, a line end at the end is cut"
    )

    @model_validator(mode="after")
    def _one_place(self) -> Secret:
        if (self.env is None) == (self.file is None):
            raise ValueError("expected exactly one of `env` and `file`")
        return self

    def reveal(self) -> str:
        """The secret, read now, so that a rotated file counts at its next use; ConfigError where there is none."""
        if self.env is not None:
            where = f"environment variable {self.env}"
            value = os.environ.get(self.env, "")
        else:
            path = Path(str(self.file)).expanduser()
            where = f"file {path}"
            try:
                value = path.read_text("utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
                raise ConfigError(f"expected a secret in {where}, but it cannot be read: {reason}") from None
        if not value:
            raise ConfigError(f"expected a secret in {where}, which is {'empty' if self.file else 'not set'}")
        return value
