"""The command line: one module a noun; nothing heavy is imported before a command needs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from data_controller.cli._exit import FAILED, INTERRUPTED, USAGE, exit_code_of
from data_controller.errors import DataControllerError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. An error is one line (with --json one object), never a traceback.

    `--debug` anywhere on the line, or DATA_CONTROLLER_DEBUG=1, lets the traceback through.
    """
    from data_controller.cli._app import app

    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or os.environ.get("DATA_CONTROLLER_DEBUG") == "1"
    arguments = [argument for argument in arguments if argument != "--debug"]
    as_json = "--json" in arguments
    try:
        # Outside its stand-alone mode Typer raises what it has to complain of and returns an exit code.
        ended = app(args=arguments, prog_name="data-controller", standalone_mode=False)
        if ended == INTERRUPTED:  # Typer turns Ctrl-C into this, without a word
            _complain("interrupted", "Interrupted", INTERRUPTED, as_json)
        return ended if isinstance(ended, int) else 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else (0 if end.code is None else FAILED)
    except BrokenPipeError:
        # Whoever read our output has seen enough (`| head`); Python's own flush at exit would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except DataControllerError as error:
        if debug:
            raise
        code = exit_code_of(error)
        problems = [vars(problem) for problem in getattr(error, "problems", ())]
        _complain(str(error), type(error).__name__, code, as_json, problems)
        return code
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the help is printed already
            return USAGE
        if usage := _usage(error):
            _complain(usage, "UsageError", USAGE, as_json)
            return USAGE
        if debug:
            raise
        text = f"unexpected {type(error).__name__}: {error}; run it again with --debug for the whole story"
        _complain(text, type(error).__name__, FAILED, as_json)
        return FAILED


def _usage(error: Exception) -> str:
    """One line on wrong usage, empty where `error` is none: Typer's own classes of it are not public."""
    say, context = getattr(error, "format_message", None), getattr(error, "ctx", None)
    if say is None:
        return ""
    text = " ".join(str(say()).split()).rstrip(".")
    path = "data-controller" if context is None else context.command_path
    return f"{text[:1].lower()}{text[1:]} (`{path} --help`)"


def _complain(text: str, kind: str, code: int, as_json: bool, problems: Sequence[object] = ()) -> None:
    from data_controller.cli._output import error_line, print_json

    if as_json:
        error = {"type": kind, "message": text} | ({"problems": list(problems)} if problems else {})
        print_json({"error": error, "exit_code": code})
    else:
        error_line(text)
