"""Reads a YAML config file into plain values with their lines, and says what is wrong with it in words."""

from __future__ import annotations

import difflib
import json
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from data_controller.errors import ConfigError
from data_controller.settings import Secret

MAX_BYTES = 1 << 20
MAX_NODES = 100_000
MAX_DEPTH = 40

KeyPath = tuple[str | int, ...]

_HIDDEN = "(hidden)"
_SECRET_NAME = re.compile(r"token|passw|secret|api_?key|credential", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_QUERY_SECRET = re.compile(r"(?<=[?&])([^=&\s]*(?:token|passw|secret|key)[^=&\s]*)=[^&\s]+", re.IGNORECASE)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a config file: where, what was expected, what was found, what to do."""

    key: str  # dotted, empty where the whole file is meant
    line: int  # counts from 1; 0 where no line is to blame
    expected: str
    was: str
    advice: str = ""

    def __str__(self) -> str:
        text = f"expected {self.expected}, was {self.was}"
        if self.key:
            text += f" (`{self.key}`)"
        return f"{text}; {self.advice}" if self.advice else text


class InvalidConfig(ConfigError):  # noqa: N818 - says what the file is
    """A config file with everything that is wrong with it."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{source}:{p.line}: {p}" if p.line else f"{source}: {p}" for p in problems))


@dataclass
class Document:
    """A YAML file as plain values, and the line of each."""

    values: dict[str, Any]
    lines: dict[KeyPath, int] = field(default_factory=dict)  # path -> line, from 1

    def line(self, path: KeyPath) -> int:
        """The line of `path`, or of its nearest parent that is in the file; 0 where none is."""
        for stop in range(len(path), 0, -1):
            if path[:stop] in self.lines:
                return self.lines[path[:stop]]
        return 0


def read(path: Path) -> Document:
    """The file's mapping; InvalidConfig where it is missing, unreadable, not YAML, empty or not a mapping."""
    source = str(path)

    def refuse(expected: str, was: str, advice: str = "", line: int = 0) -> InvalidConfig:
        return InvalidConfig(source, [Problem("", line, expected, was, advice)])

    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise refuse("a config file", "no file there", "examples/paper.yaml is one to start from") from None
    except OSError as error:
        raise refuse("a readable file", f"{error.strerror or error}") from None
    if len(raw) > MAX_BYTES:
        raise refuse(f"at most {MAX_BYTES} bytes", f"{len(raw)} bytes", "is this the right file?")
    try:
        tree = YAML(typ="rt", pure=True).load(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise refuse("UTF-8 text", "bytes that are not UTF-8", "save the file as UTF-8") from None
    except DuplicateKeyError as error:
        # The library's own text quotes both values; one of them may be a secret.
        found = re.search(r'found duplicate key "([^"]*)"', str(error.problem))
        key = found.group(1) if found else "a key"
        raise refuse("every key once", f"`{key}` twice", "keep one of them", _line(error)) from None
    except MarkedYAMLError as error:
        if "'\\t'" in str(error.problem):
            raise refuse(
                "spaces before a key", "a tab", "indent with spaces: YAML allows no tabs", _line(error)
            ) from None
        raise refuse("YAML", f"broken YAML ({error.problem or error.context})", "", _line(error)) from None
    except (YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise refuse("YAML", f"broken YAML ({type(error).__name__})") from None
    if tree is None:
        raise refuse("a mapping of sections", "an empty file", "examples/paper.yaml is one to start from")
    if not isinstance(tree, Mapping):
        raise refuse("a mapping of sections", _kind(tree), "write `key: value` lines", 1)
    document = Document({})
    try:
        document.values = _plain(tree, (), document.lines, [0])
    except OverflowError as error:
        raise refuse("a tree of reasonable size", str(error), "anchors that repeat themselves?") from None
    return document


def _line(error: MarkedYAMLError) -> int:
    mark = error.problem_mark or error.context_mark
    return mark.line + 1 if mark is not None else 0


def _plain(node: Any, path: KeyPath, lines: dict[KeyPath, int], count: list[int]) -> Any:
    """`node` in JSON's own types; notes the line of each key and item in `lines`."""
    count[0] += 1
    if count[0] > MAX_NODES or len(path) > MAX_DEPTH:
        raise OverflowError(f"more than {MAX_NODES} values or {MAX_DEPTH} levels")
    if isinstance(node, Mapping):
        keys = {}
        for key, value in node.items():
            below = (*path, str(key))
            lines[below] = _key_line(node, key)
            keys[str(key)] = _plain(value, below, lines, count)
        return keys
    if isinstance(node, (list, tuple, set)):
        items = []
        for i, value in enumerate(node):
            lines[(*path, i)] = _item_line(node, i)
            items.append(_plain(value, (*path, i), lines, count))
        return items
    if node is None or isinstance(node, bool):
        return node
    for plain in (int, float, str):
        if isinstance(node, plain):
            return plain(node)
    return node.isoformat() if isinstance(node, date) else str(node)


def _key_line(node: Any, key: Any) -> int:
    try:
        return int(node.lc.key(key)[0]) + 1
    except (AttributeError, KeyError, TypeError):  # a key that came in by a merge has no place of its own
        return 0


def _item_line(node: Any, i: int) -> int:
    try:
        return int(node.lc.item(i)[0]) + 1
    except (AttributeError, KeyError, TypeError):
        return 0


def explain(details: Iterable[Any], model: type[BaseModel], document: Document) -> list[Problem]:
    """Every problem of a validation (pydantic's error details), in the order of the file's lines."""
    problems: dict[tuple[str, str], Problem] = {}
    for detail in details:
        path = _path_in(document.values, detail["loc"], missing=detail["type"] == "missing")
        problem = _problem(detail, path, model, document)
        key = (problem.key, "")
        if key in problems:  # one value tried against several types: what each wanted
            first = problems[key]
            wants = " or ".join(dict.fromkeys([*first.expected.split(" or "), problem.expected]))
            problem = Problem(first.key, first.line, wants, first.was, first.advice)
        problems[key] = problem
    return sorted(problems.values(), key=lambda p: (p.line, p.key))


def _path_in(values: Any, loc: Sequence[str | int], *, missing: bool) -> KeyPath:
    """`loc` without what pydantic adds to name the member of a union or a validator."""
    path: list[str | int] = []
    node = values
    for i, part in enumerate(loc):
        if (isinstance(node, dict) and part in node) or (isinstance(node, list) and part in range(len(node))):
            node = node[part]  # type: ignore[index]
            path.append(part)
        elif missing and i == len(loc) - 1:
            path.append(part)
    return tuple(path)


def _problem(detail: Any, path: KeyPath, model: type[BaseModel], document: Document) -> Problem:
    key = dotted(path)
    line = document.line(path)
    if detail["type"] == "extra_forbidden":
        return Problem(key, line, "a known key", f"`{path[-1]}`", _neighbour(path, model))
    if detail["type"] == "missing":
        return Problem(key, line, "a value", "nothing", "add the key")
    expected = _expected(detail)
    section = model_at(model, path)
    secret = section is not None and issubclass(section, Secret)
    if secret and detail["type"] == "model_type":
        expected = "`{env: NAME}` or `{file: PATH}`"
    said = _SAID.search(str(detail["msg"])) if detail["type"] == "value_error" else None
    was = _HIDDEN if secret or _names_secret(path) else said[2] if said else _shown(_value(document.values, path))
    advice = "secrets do not stand in the config: name where one lies" if secret else _default_advice(path, model)
    return Problem(key, line, expected, was, advice)


_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "path_type": "a path",
    "none_required": "nothing",
}
_BOUNDS = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "text that matches {pattern}",
    "multiple_of": "a multiple of {multiple_of}",
}


_SAID = re.compile(r"expected (.*), was (.*?)(?: \(`[^`]*`\))?$", re.DOTALL)
"""How our own validators say it: their words are kept, and the key is written once."""


def _expected(detail: Any) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _KINDS:
        return _KINDS[kind]
    if kind in _BOUNDS:
        plain = {name: f"{value:g}" if isinstance(value, float) else value for name, value in context.items()}
        return _BOUNDS[kind].format(**plain)
    if kind in ("literal_error", "enum"):
        return str(context["expected"]).replace("'", "")
    message = str(detail["msg"]).removeprefix("Value error, ")
    said = _SAID.search(message)
    return said[1] if said else message.removeprefix("Input should be ").removeprefix("expected ")


def _default_advice(path: KeyPath, model: type[BaseModel]) -> str:
    parent = model_at(model, path[:-1]) if path else None
    info = parent.model_fields.get(str(path[-1])) if parent is not None else None
    if info is None or info.is_required():
        return ""
    default = info.get_default(call_default_factory=True, validated_data={})
    return "" if isinstance(default, BaseModel) or default is None else f"the default is {_shown(default)}"


def _neighbour(path: KeyPath, model: type[BaseModel]) -> str:
    """Where an unknown key probably wanted to go: a sibling that is spelled alike, or the same name elsewhere."""
    name = str(path[-1])
    parent = model_at(model, path[:-1]) or model
    close = difflib.get_close_matches(name, list(parent.model_fields), n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    every = list(known_keys(model))
    same = [key for key in every if key.rsplit(".", 1)[-1] == name]
    if same:
        return f"did you mean `{same[0]}`?"
    by_last: dict[str, str] = {}
    for key in every:
        by_last.setdefault(key.rsplit(".", 1)[-1], key)
    close = difflib.get_close_matches(name, list(by_last), n=1, cutoff=0.75)
    if close:
        return f"did you mean `{by_last[close[0]]}`?"
    nearest = max(parent.model_fields, key=lambda known: difflib.SequenceMatcher(None, name, known).ratio())
    return f"the nearest key here is `{nearest}`"


def known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of every key of `model`, sections before what is in them."""
    for name, info in model.model_fields.items():
        yield prefix + name
        section = section_of(info.annotation)
        if section is not None and not issubclass(section, Secret):
            yield from known_keys(section, f"{prefix}{name}.")


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The model that a field's type holds directly (`Model` or `Model | None`), or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType):
        models = [m for m in map(section_of, get_args(annotation)) if m is not None]
        return models[0] if len(models) == 1 else None
    return None


def model_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    """The model whose keys stand at `path`, looking through lists, mappings and options."""
    annotation: Any = model
    for part in path:
        annotation = _below(annotation, part)
    return section_of(annotation)


def _below(annotation: Any, part: str | int) -> Any:
    """The type of what `annotation` holds under `part`; None where it holds nothing there."""
    section = section_of(annotation)
    if section is not None:
        info = section.model_fields.get(str(part))
        return info.annotation if info is not None else None
    args = [a for a in get_args(annotation) if a is not Ellipsis]
    if get_origin(annotation) is Annotated:
        return _below(args[0], part)
    if get_origin(annotation) in (Union, types.UnionType):
        return next((found for a in args if (found := _below(a, part)) is not None), None)
    return args[-1] if args else None


def dotted(path: KeyPath) -> str:
    """`exchanges.bitfinex.pairs[2]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _value(values: Any, path: KeyPath) -> Any:
    for part in path:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def _names_secret(path: KeyPath) -> bool:
    return any(isinstance(part, str) and _SECRET_NAME.search(part) for part in path)


def mask(text: str) -> str:
    """`text` with what looks like a credential in a URL cut out."""
    return _QUERY_SECRET.sub(r"\1=***", _USERINFO.sub("***", text))


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else f"only {type(value).__name__.removeprefix('Scalar').lower()}"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return f"a mapping of {len(value)} keys"
    if isinstance(value, (list, tuple)) and len(value) > 6:
        return f"a list of {len(value)}"
    text = mask(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= 80 else text[:77] + "..."
