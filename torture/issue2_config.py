"""Damaged config files: each is a config or an InvalidConfig with a text, never anything else."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from data_controller.config import Config, InvalidConfig, load

ROUNDS = 20_000
SEED_FILE = Path(__file__).parent.parent / "examples" / "paper.yaml"
PIECES = [
    "\t",
    ":",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "!!int ",
    "null",
    ".nan",
    "1e999",
    "-1",
    "\x00",
    "\ufeff",
    '"',
    "'",
    "\n",
    "  ",
    "#",
    "|",
    ">",
]


def damaged(seed: int) -> bytes:
    """The example file with a few seeded edits."""
    draw = random.Random(seed)
    text = SEED_FILE.read_text()
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(text) + 1)
        match draw.randrange(4):
            case 0:
                text = text[:at] + draw.choice(PIECES) + text[at:]
            case 1:
                text = text[:at] + text[at + draw.randint(1, 30) :]
            case 2:
                lines = text.splitlines(keepends=True)
                draw.shuffle(part := lines[(at % max(1, len(lines))) :][:6])
                text = (
                    "".join(lines[: at % max(1, len(lines))])
                    + "".join(part)
                    + "".join(lines[at % max(1, len(lines)) + 6 :])
                )
            case _:
                text = text[:at] + text[max(0, at - 40) : at] + text[at:]
    data = bytearray(text.encode())
    if draw.random() < 0.2 and data:
        data[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(data)


def attempt(seed: int) -> dict[str, int]:
    """One damaged file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.yaml"
        path.write_bytes(damaged(seed))
        try:
            config = load(path)
        except InvalidConfig as error:
            if not error.problems or not str(error):
                raise AssertionError("an InvalidConfig without a problem") from error
            return {"refused": 1}
        if not isinstance(config, Config):
            raise AssertionError(f"expected a Config, was {type(config)}")
        return {"accepted": 1}
