from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from data_controller.errors import ConfigError
from data_controller.features.parameters import load_parameters, parse


def tree(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "format": 1,
        "revision": "test",
        "fitted_on": "nothing",
        "integrated_ofi_weights": [1.0, 0.5],
        "microprice": {"spread_edges_bps": [2.0], "table_half_spreads": [[-0.5, 0.5], [-0.4, 0.4]]},
    }
    return plain | changes


def test_the_plain_default_is_uniform_and_symmetric() -> None:
    found = load_parameters()
    assert set(found.integrated_ofi_weights) == {1.0}
    (row,) = found.table_half_spreads
    assert row == tuple(-value for value in reversed(row))


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(tree()))
    found = load_parameters(path)
    assert found.integrated_ofi_weights == (1.0, 0.5)
    assert found.spread_edges_bps == (2.0,)
    assert found.table_half_spreads == ((-0.5, 0.5), (-0.4, 0.4))


def test_the_digest_is_of_the_content_not_of_the_text() -> None:
    one, same = parse(json.dumps(tree()).encode(), "a"), parse(json.dumps(tree(), indent=3).encode(), "b")
    other = parse(json.dumps(tree(integrated_ofi_weights=[1.0, 0.6])).encode(), "c")
    assert one.digest() == same.digest() != other.digest()


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"format": 2}, "expected format 1, was 2"),
        ({"format": True}, "expected format 1, was True"),
        ({"revision": ""}, "expected text in revision, was ''"),
        ({"extra": 1}, "expected the keys"),
        ({"integrated_ofi_weights": []}, "expected a list of 1 to 10 numbers, was 0"),
        ({"integrated_ofi_weights": "1"}, "expected a list of 1 to 10 numbers, was str"),
        ({"integrated_ofi_weights": [0.0, 0.0]}, "expected a weight other than 0"),
        ({"integrated_ofi_weights": [float("nan")]}, "was nan"),
        ({"integrated_ofi_weights": [True]}, "was True"),
        ({"microprice": 3}, "microprice: expected an object, was int"),
        ({"microprice": {"spread_edges_bps": [2.0, 1.0], "table_half_spreads": [[0, 0]] * 3}}, "ascending"),
        ({"microprice": {"spread_edges_bps": [-1.0], "table_half_spreads": [[0, 0]] * 2}}, "above 0"),
        ({"microprice": {"spread_edges_bps": [], "table_half_spreads": [[0, 0]] * 2}}, "expected 1 rows"),
        ({"microprice": {"spread_edges_bps": [1.0], "table_half_spreads": [[0, 0], [0, 0, 0]]}}, "one length"),
        ({"microprice": {"spread_edges_bps": [], "table_half_spreads": [[0]]}}, "2 to 32 numbers, was 1"),
    ],
)
def test_a_wrong_file_is_refused_and_says_what_was_expected(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=r"x\.json") as refused:
        parse(json.dumps(tree(**bad)).encode(), "x.json")
    assert said in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_what_is_not_an_object_of_json_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"x\.json"):
        parse(data, "x.json")


def test_a_huge_file_is_refused_unread() -> None:
    with pytest.raises(ConfigError, match="expected at most"):
        parse(b" " * 2_000_000, "x.json")


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.json"):
        load_parameters(tmp_path / "nowhere.json")
