"""What every config section is made of: frozen, unknown keys refused, and each field marked hot or restart."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A frozen part of the config tree; an unknown key is an error. Rooms subclass it in their `settings.py`."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


def hot(default: Any = ..., **constraints: Any) -> Any:
    """A field that a reload may change while the engine runs; `constraints` go to pydantic's Field."""
    return Field(default, json_schema_extra={"reload": "hot"}, **constraints)


def restart(default: Any = ..., **constraints: Any) -> Any:
    """A field that a reload refuses, by name; `constraints` go to pydantic's Field."""
    return Field(default, json_schema_extra={"reload": "restart"}, **constraints)
