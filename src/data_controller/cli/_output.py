"""What commands print: one JSON object on stdout where asked, tables for people; progress and errors on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def print_json(value: Any) -> None:
    """`value` as one JSON document and a line end on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str, allow_nan=False) + "\n")
    sys.stdout.flush()


def console(stderr: bool = False) -> Console:
    """A rich console; on stderr for everything that is not the command's result."""
    from rich.console import Console

    class Plain(Console):
        """What is printed comes from venues and files: no text is markup. A reader that has seen enough is no error."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Plain(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)


def error_line(text: str) -> None:
    """One red line (a line a problem where there are several) on stderr."""
    console(stderr=True).print(f"error: {text}", style="bold red", markup=False)


def note(text: str) -> None:
    """A plain line on stderr."""
    console(stderr=True).print(text, markup=False)


def show(value: Any, as_json: bool, render: Callable[[Any], Any]) -> None:
    """The command's result: `value` as JSON, or what `render` makes of it for people."""
    if as_json:
        print_json(value)
    else:
        console().print(render(value))


def event_printer() -> Callable[[dict[str, Any]], None]:
    """A function that tells a run's events on stderr, one line each: `{"event": "ready", "dashboard": "http://..."}`."""
    out = console(stderr=True)

    def tell(event: dict[str, Any]) -> None:
        rest = {key: value for key, value in event.items() if key != "event"}
        text = str(rest.pop("text", "")) or str(event.get("event", ""))
        detail = "  ".join(f"{key} {_short(value)}" for key, value in rest.items())
        out.print(
            f"· {text}  {detail}".rstrip(), markup=False, style="dim" if event.get("event") != "ready" else "bold"
        )

    return tell


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int], None]]:
    """A function that takes how many records were just done; a terminal sees a count and a rate, a log nothing."""
    from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Records a second."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.completed / task.elapsed:,.0f}/s" if task.elapsed else "")

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,.0f}"), Rate())
    out = console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda count: bar.advance(task, count)


def _short(value: Any) -> str:
    return f"{value:,.3g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
