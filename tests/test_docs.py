"""The documents name only what exists: links, modules, commands, targets, tests; and made pages are up to date."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def text_of(page: Path) -> str:
    return page.read_text()


def code_spans(text: str) -> list[str]:
    """Inline code and the lines of code blocks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return inline + [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]


def missing_links(page: Path, text: str) -> list[str]:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    return [link for link in links if "://" not in link and not (page.parent / link).exists()]


def missing_names(text: str) -> list[str]:
    """Modules, test files, commands and make targets in code that do not exist."""
    missing = []
    for span in code_spans(text):
        modules = re.findall(r"(?<![\w./])data_controller(?:\.[a-z_]\w*)+", span)
        missing += [module for module in modules if not module_exists(module)]
        paths = re.findall(r"(?<![\w/])((?:tests|docs|examples|scripts|src|benchmarks)/[\w./-]+\.\w+)", span)
        missing += [path for path in paths if not (ROOT / path).exists()]
        command = re.search(r"(?:^|/|\s)data-controller((?: [a-z][a-z-]*)+)", span)
        if command and not command_exists(command[1].split()):
            missing.append(span)
        target = re.match(r"make ([a-z][a-z-]*)(?!\S)", span)
        if target and not re.search(rf"^{target[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE):
            missing.append(span)
    return missing


def module_exists(name: str) -> bool:
    """True for a module, or a name inside one."""
    path = ROOT / "src" / Path(*name.split("."))
    if path.is_dir() or path.with_suffix(".py").exists():
        return True
    module, _, attribute = name.rpartition(".")
    source = ROOT / "src" / Path(*module.split(".")).with_suffix(".py")
    return source.exists() and re.search(rf"^(def |class )?{attribute}\b", source.read_text(), re.MULTILINE) is not None


def command_exists(words: list[str]) -> bool:
    """True where the words name a command, the last ones perhaps its arguments."""
    from typer.main import get_command

    from data_controller.cli._app import app

    node: Any = get_command(app)
    for word in words:
        inner = getattr(node, "commands", None)
        if not inner:
            return True
        if word not in inner:
            return False
        node = inner[word]
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert missing_links(page, text_of(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_module_test_command_and_target_that_is_named_exists(page: Path) -> None:
    assert missing_names(text_of(page)) == []


def test_a_name_that_does_not_exist_would_be_found() -> None:
    text = (
        "`data_controller.nowhere` `tests/test_nothing.py` `data-controller nonsense` `make nonsense` [x](nothing.md)\n"
        "```\ndata-controller config nonsense\n```\n"
    )
    assert missing_names(text) == [
        "data_controller.nowhere",
        "tests/test_nothing.py",
        "data-controller nonsense",
        "make nonsense",
        "data-controller config nonsense",
    ]
    assert missing_links(ROOT / "README.md", text) == ["nothing.md"]


def test_each_part_of_the_mission_names_a_module_or_the_issue_that_brings_it() -> None:
    text = text_of(ROOT / "docs" / "mission.md").split("## Substitutions")[0]
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| asked")]
    assert len(rows) > 30
    bare = [row for row in rows if not re.search(r"data_controller\.|issue \d: not yet|`make |\.importlinter", row)]
    assert bare == []


def test_each_part_of_the_mission_that_is_there_names_its_tests_or_its_benchmark() -> None:
    text = text_of(ROOT / "docs" / "mission.md").split("## Substitutions")[0]
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| asked")]
    assert [row for row in rows if not re.search(r"`tests/|`make bench`|issue \d: not yet", row)] == []


def test_made_pages_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "scripts" / "make_docs.py")
    assert spec is not None
    assert spec.loader is not None
    make_docs = importlib.util.module_from_spec(spec)
    sys.modules["make_docs"] = make_docs
    spec.loader.exec_module(make_docs)
    stale = [name for name, text in make_docs.pages().items() if text != (ROOT / "docs" / name).read_text()]
    assert stale == [], "run `make docs`"


def test_every_alert_is_explained() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    found = re.findall(r'Alert\(\s*(?:"\w+"|severity),\s*f?"([^"]+)"', source)
    names = {re.sub(r"^(?:bitfinex|ccxt_bridge|ccxt|\{[\w.]+\})_", "EXCHANGE_", name) for name in found}
    names -= {"EXCHANGE_{name}", "EXCHANGE_not_closed"}  # key_refused and key_unanswered; journal and tables
    assert len(names) > 15
    assert not sorted(name for name in names if f"`{name}`" not in page)
