"""Secrets: found where they are said to lie, and never shown anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from data_controller import config
from data_controller._config_file import mask
from data_controller.config import InvalidConfig, load, parse, schema
from data_controller.errors import ConfigError
from data_controller.settings import Secret, Section, hot

HUSH = "s3cr3t-hush-hush"


class Holder(Section):
    """A section with secrets, as rooms define them."""

    token: Secret | None = hot(None)
    url: str = hot("")


class Tree(config.Config):
    """The tree with one more section."""

    holder: Holder = Holder()


@pytest.fixture(autouse=True)
def tree(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tree has a section with a secret."""
    monkeypatch.setattr(config, "Config", Tree)
    yield


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def test_a_secret_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOLDER_TOKEN", HUSH)
    tree = load(written(tmp_path, "holder: {token: {env: HOLDER_TOKEN}}\n"))
    assert tree.holder.token.reveal() == HUSH  # type: ignore[attr-defined]


def test_a_secret_is_read_from_a_file_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(HUSH + "\n")
    tree = load(written(tmp_path, f"holder:\n  token:\n    file: {tmp_path / 'token'}\n"))
    assert tree.holder.token.reveal() == HUSH  # type: ignore[attr-defined]


def test_a_rotated_file_counts_at_the_next_use(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("old")
    secret = Secret(file=tmp_path / "token")
    assert secret.reveal() == "old"
    (tmp_path / "token").write_text("new")
    assert secret.reveal() == "new"


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("{env: NOT_SET_ANYWHERE}", "environment variable NOT_SET_ANYWHERE, which is not set"),
        ("{file: /nonexistent/token}", "cannot be read: No such file or directory"),
    ],
)
def test_a_missing_secret_is_found_at_load_with_its_key_and_line(tmp_path: Path, where: str, says: str) -> None:
    path = written(tmp_path, f"engine: {{}}\nholder:\n  token: {where}\n")
    with pytest.raises(InvalidConfig) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert (problem.key, problem.line) == ("holder.token", 3)
    assert says in problem.advice
    assert load(path, secrets=False).holder.token is not None  # type: ignore[attr-defined]


def test_an_empty_file_holds_no_secret(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        Secret(file=tmp_path / "token").reveal()


def test_a_secret_lies_in_exactly_one_place(tmp_path: Path) -> None:
    for text in ("holder: {token: {}}\n", "holder: {token: {env: A, file: b}}\n"):
        with pytest.raises(InvalidConfig, match="exactly one of `env` and `file`"):
            load(written(tmp_path, text))


def test_a_secret_written_into_the_file_is_refused_without_repeating_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig) as caught:
        load(written(tmp_path, f"holder: {{token: {HUSH}}}\n"))
    assert HUSH not in str(caught.value) + repr(caught.value) + repr(caught.value.problems)
    assert "{env: NAME}" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"holder: {{token: {{env: '{HUSH} {HUSH}'}}}}\n",
        f"holder: {{token: [{HUSH}]}}\n",
        f"holder: {{token: {{file: {{a: {HUSH}}}}}}}\n",
        f"holder: {{token: {{envv: {HUSH}}}}}\n",
        f"holder: {{api_token: {HUSH}}}\n",
        f"holder: {{url: [wss://user:{HUSH}@host/]}}\n",
        f"holder: {{token: {HUSH}, token: {HUSH}}}\n",
        f"holder: {{password: {HUSH}\n",
    ],
)
def test_no_refusal_repeats_a_secret(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        load(written(tmp_path, text))
    assert HUSH not in str(caught.value)


def test_a_secret_never_shows_in_values_hash_schema_or_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDER_TOKEN", HUSH)
    tree = parse({"holder": {"token": {"env": "HOLDER_TOKEN"}, "url": f"wss://me:{HUSH}@host/?token={HUSH}&a=1"}})
    shown = f"{tree.effective()} {tree.hash} {schema()}"
    assert HUSH not in shown
    assert HUSH not in repr(tree.holder.token) + str(tree.holder.token)  # type: ignore[attr-defined]
    assert tree.effective()["holder"]["url"] == "wss://***@host/?token=***&a=1"
    assert HUSH in str(tree.effective(masked=False))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://user:word@host/x", "https://***@host/x"),
        ("https://host/x?api_key=1234&y=2", "https://host/x?api_key=***&y=2"),
        ("https://host/x?y=2", "https://host/x?y=2"),
        ("someone@host", "someone@host"),
        ("tETH2X:ETH", "tETH2X:ETH"),
    ],
)
def test_credentials_are_cut_out_of_addresses_and_nothing_else(text: str, masked: str) -> None:
    assert mask(text) == masked
