"""docs/api.md names every door that is open, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from data_controller.killswitch.latch import Latch
from data_controller.web.app import STATIC, create_app
from data_controller.web.guard import Guard


def test_the_document_lists_the_routes(tmp_path: Path) -> None:
    app = create_app(None, tmp_path, "t" * 43, Latch(tmp_path))  # type: ignore[arg-type]
    assert isinstance(app, Guard)
    files = {f"/{path.name}" for path in STATIC.iterdir()}
    routes = app.app.routes  # type: ignore[attr-defined]
    served = {
        (method, route.path) for route in routes if route.path not in files for method in route.methods - {"HEAD"}
    }
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    written = set(re.findall(r"^\| `(GET|POST) (\S+)` \|", text, re.MULTILINE))
    assert written == served
