"""Writes the pages that are made from the code; with `--check` only says which of them are out of date."""

from __future__ import annotations

import json
import re
import sys
import types
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from typer.main import get_command

from data_controller import config
from data_controller._config_file import section_of
from data_controller.cli._app import app
from data_controller.cli._exit import MEANINGS
from data_controller.features import catalogue
from data_controller.monitoring import catalogue as metrics
from data_controller.settings import Secret

DOCS = Path(__file__).parent.parent / "docs"
MADE = "<!-- Made by `make docs`; change the code, not this page. -->"

_UNITS = {
    "ns": "ns",
    "ms": "ms",
    "s": "s",
    "bps": "basis points",
    "bytes": "bytes",
    "ppm": "ppm",
    "days": "days",
    "quote": "quote currency",
    "fraction": "fraction of 1",
    "minute": "a minute",
    "percent": "%",
}


def pages() -> dict[str, str]:
    """Text of every made page by its name under docs/."""
    return {
        "config.md": config_page(),
        "config.schema.json": json.dumps(config.schema(), indent=2) + "\n",
        "cli.md": cli_page(),
        "features.md": catalogue.page(),
        "metrics.md": metrics.document(),
    }


def config_page() -> str:
    """The reference of every key."""
    lines = [
        "# Configuration",
        "",
        MADE,
        "",
        "One YAML file, [`examples/paper.yaml`](../examples/paper.yaml) to start from. `data-controller "
        "config check FILE` says "
        "everything that is wrong with a file at once, with lines; `config show` prints what is in effect; "
        "`config schema` prints "
        "the JSON Schema (also [config.schema.json](config.schema.json)) with which an editor completes and checks.",
        "",
        "- An unknown key is an error that names its nearest neighbour. So are a key written twice, and a "
        "number in quotes.",
        "- Units stand last in a key's name.",
        "- *hot*: SIGHUP or `data-controller reload` changes it in a running engine. *restart*: a reload "
        "that changes it is refused, "
        "by name, and nothing is changed.",
        "- A *secret* is never in the file. `{env: NAME}` or `{file: PATH}` says where it lies; nothing "
        "prints it. Credentials in "
        "a URL are cut out wherever a config is shown, hashed or journaled.",
        "- A section that is left out has its defaults; a venue that is left out is not connected.",
        "",
    ]
    top = [(name, info) for name, info in config.Config.model_fields.items() if section_of(info.annotation) is None]
    lines += [*_table(config.Config, dict(top)), ""]
    for path, model, description in _sections(config.Config, ()):
        lines += [f"## `{path}`", "", f"{_sentence(description)}", "", *_table(model, _values(model)), ""]
        for inner in _list_sections(model):
            lines += [f"Each of `{path}.{inner[0]}`:", "", *_table(inner[1], _values(inner[1])), ""]
    return "\n".join(lines)


def _sections(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[str, type[BaseModel], str]]:
    for name, info in model.model_fields.items():
        section = section_of(info.annotation)
        if section is not None and not issubclass(section, Secret):
            if _values(section):
                yield ".".join((*path, name)), section, info.description or (section.__doc__ or "").splitlines()[0]
            yield from _sections(section, (*path, name))


def _values(model: type[BaseModel]) -> dict[str, Any]:
    """Fields of `model` that hold a value (a secret is one)."""
    return {
        name: info
        for name, info in model.model_fields.items()
        if section_of(info.annotation) is None or issubclass(section_of(info.annotation) or BaseModel, Secret)
    }


def _list_sections(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, info in model.model_fields.items():
        for inner in get_args(info.annotation):
            if isinstance(inner, type) and issubclass(inner, BaseModel) and section_of(info.annotation) is None:
                yield name, inner


def _sentence(text: str) -> str:
    text = text.strip().rstrip(".")
    return text[:1].upper() + text[1:] + "."


def _table(model: type[BaseModel], fields: dict[str, Any]) -> list[str]:
    if not fields:
        return []
    comments = _comments(model)
    rows = ["| key | type | default | unit | reload | what it is |", "|---|---|---|---|---|---|"]
    for name, info in fields.items():
        default = (
            "required"
            if info.is_required()
            else _default(info.get_default(call_default_factory=True, validated_data={}))
        )
        what = info.description or comments.get(name, "")
        cells = [f"`{name}`", _type(info), default, _unit(name), config.reload_mark(info.json_schema_extra), what]
        rows.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return rows


def _comments(model: type[BaseModel]) -> dict[str, str]:
    """The comment beside each field in the source: what a field without a description says of itself."""
    import inspect

    found = re.finditer(r"^    (\w+)\s*:[^#\n]*#\s*(.+)$", inspect.getsource(model), re.MULTILINE)
    return {match[1]: match[2].strip() for match in found}


def _unit(name: str) -> str:
    return _UNITS.get(name.rsplit("_", 1)[-1], "") if "_" in name else ""


def _default(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, BaseModel):
        return f"`{json.dumps(value.model_dump(mode='json'))}`"
    if isinstance(value, tuple):
        return f"`{json.dumps([v.model_dump(mode='json') if isinstance(v, BaseModel) else v for v in value])}`"
    return f"`{json.dumps(value, default=str)}`" if not isinstance(value, (Path, str)) else f"`{value}`"


_LIMITS = {"gt": "> {}", "ge": "≥ {}", "lt": "< {}", "le": "≤ {}", "pattern": "like `{}`"}


def _type(info: Any) -> str:
    limits = [
        text.format(f"{value:g}" if isinstance(value, float) else value)
        for part in info.metadata
        for key, text in _LIMITS.items()
        if (value := getattr(part, key, None)) is not None
    ]
    return ", ".join([_name(info.annotation), *limits])


def _name(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _name(args[0])
    if origin is Literal:
        return " or ".join(str(value) for value in args)
    if origin in (Union, types.UnionType):
        return " or ".join(_name(inner) for inner in args if inner is not type(None))
    if origin in (tuple, list, frozenset, set):
        return f"list of {_name(args[0])}"
    if origin is dict:
        return f"mapping of {_name(args[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Secret):
        return "secret"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    names = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path", date: "date"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def cli_page() -> str:
    """The reference of every command."""
    lines = [
        "# Commands",
        "",
        MADE,
        "",
        "`data-controller COMMAND --help` says the same in a terminal. With `--json` a command prints one "
        "JSON object on stdout and "
        'everything else on stderr; an error is then `{"error": {"type", "message"}, "exit_code"}`. '
        "`--debug` lets an error's "
        "traceback through. Durations are written 500ms, 30s, 5m, 2h, 1m30s.",
        "",
        "| exit code | meaning |",
        "|---|---|",
        *(f"| {code} | {meaning} |" for code, meaning in MEANINGS.items()),
        "",
    ]
    command = get_command(app)
    for path, leaf in _commands(command, ()):
        lines += [f"## `data-controller {' '.join(path)}`", "", *_help(leaf), ""]
        rows = [_parameter(parameter) for parameter in leaf.params if getattr(parameter, "name", "") != "help"]
        if rows:
            lines += ["| | | |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        if getattr(inner, "commands", None):
            yield from _commands(inner, (*path, name))
        else:
            yield (*path, name), inner


def _help(command: Any) -> list[str]:
    return [line.strip() for line in (command.help or "").strip().splitlines()]


def _parameter(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = parameter.metavar or parameter.name.upper()
    else:
        name = ", ".join(parameter.opts)
        if not parameter.is_flag:
            name += f" {parameter.metavar or 'TEXT'}"
    default = "required" if parameter.required else ""
    if parameter.default is not None and not callable(parameter.default) and not getattr(parameter, "is_flag", False):
        default = (
            f"default {parameter.default:g}" if isinstance(parameter.default, float) else f"default {parameter.default}"
        )
    text = (parameter.help or "").replace("|", "\\|")
    return f"| `{name}` | {default} | {text} |"


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` name those that differ and return 1."""
    stale = [name for name, text in pages().items() if not (DOCS / name).exists() or (DOCS / name).read_text() != text]
    for name in stale:
        if "--check" in arguments:
            typer.echo(f"docs/{name} is out of date: run `make docs`")
        else:
            (DOCS / name).write_text(pages()[name])
            typer.echo(f"wrote docs/{name}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
