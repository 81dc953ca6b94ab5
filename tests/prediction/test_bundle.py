from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import safetensors.numpy

from data_controller.errors import BundleError
from data_controller.prediction.bundle import GOLDEN, MANIFEST, WEIGHTS, Golden, load, save
from tests.prediction.bundles import CATALOGUE, COLUMNS, HORIZONS_S, bundle, parts


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest as a hand would, without `save`."""
    path = folder / MANIFEST
    manifest = json.loads(path.read_bytes())
    change(manifest)
    path.write_text(json.dumps(manifest))


def replace(folder: Path, name: str, tensors: dict[str, np.ndarray]) -> None:
    """Put other tensors into a file and say so in the manifest, so that only their content is wrong."""
    data = safetensors.numpy.save(tensors)
    (folder / name).write_bytes(data)
    key = "weights_sha256" if name == WEIGHTS else "golden_sha256"
    rewrite(folder, lambda m: m.update({key: hashlib.sha256(data).hexdigest()}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bundle(tmp_path)
    return tmp_path / "bundle"


def test_what_is_saved_is_what_is_loaded(folder: Path) -> None:
    made, loaded = parts(), load(folder, CATALOGUE, COLUMNS)
    assert loaded.weight.tobytes() == made["weight"].tobytes()
    assert loaded.bias.tobytes() == made["bias"].tobytes()
    assert loaded.golden.features.tobytes() == made["golden"].features.tobytes()
    assert loaded.horizons_s == tuple(HORIZONS_S)
    assert loaded.manifest.columns == COLUMNS
    assert not loaded.manifest.live_money


def test_the_hash_names_weights_and_manifest_but_not_the_layout_of_its_text(tmp_path: Path) -> None:
    first = save(tmp_path / "a", **parts())
    assert load(tmp_path / "a", CATALOGUE, COLUMNS).hash == first
    rewrite(tmp_path / "a", lambda m: None)
    assert load(tmp_path / "a", CATALOGUE, COLUMNS).hash == first
    other = parts()
    other["weight"][0, 0, 0] = np.nextafter(other["weight"][0, 0, 0], np.float32(9))
    assert save(tmp_path / "b", **other) != first
    rewrite(tmp_path / "a", lambda m: m.update(notice="another"))
    assert load(tmp_path / "a", CATALOGUE, COLUMNS).hash != first


def test_saving_replaces_an_older_bundle_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    first, second = bundle(tmp_path, 1), bundle(tmp_path, 2)
    assert first.hash != second.hash
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("fault", ["nan weight", "shape", "golden", "metrics"])
def test_parts_that_do_not_fit_are_not_written(tmp_path: Path, fault: str) -> None:
    made = parts()
    if fault == "nan weight":
        made["weight"][0, 0, 0] = np.nan
    elif fault == "shape":
        made["bias"] = made["bias"][:1]
    elif fault == "golden":
        golden = made["golden"]
        made["golden"] = Golden(golden.features, golden.valid, golden.outputs, np.zeros_like(golden.usable))
    else:
        made["manifest"] = msgspec.structs.replace(made["manifest"], metrics={"ic": float("nan")})
    with pytest.raises(BundleError):
        save(tmp_path / "bundle", **made)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, GOLDEN])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=rf"expected a readable {name}.*prediction\.bundle"):
        load(folder, CATALOGUE, COLUMNS)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere"):
        load(tmp_path / "nowhere", CATALOGUE, COLUMNS)


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, GOLDEN])
def test_truncation_is_refused_at_every_length(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    for length in range(0, len(whole), 37):
        (folder / name).write_bytes(whole[:length])
        with pytest.raises(BundleError):
            load(folder, CATALOGUE, COLUMNS)


@pytest.mark.parametrize("name", [WEIGHTS, GOLDEN])
def test_one_flipped_bit_is_refused(folder: Path, name: str) -> None:
    whole = bytearray((folder / name).read_bytes())
    for k in range(0, len(whole), 53):
        whole[k] ^= 1
        (folder / name).write_bytes(whole)
        with pytest.raises(BundleError, match="expected sha256"):
            load(folder, CATALOGUE, COLUMNS)
        whole[k] ^= 1


@pytest.mark.parametrize(
    "text", [b"", b"\xff\xfe", b"[]", b"{}", b"null", b'{"format": "one"}', b"\x80\x04pickle", b"[" * 100_000]
)
def test_a_foreign_manifest_is_refused(folder: Path, text: bytes) -> None:
    (folder / MANIFEST).write_bytes(text)
    with pytest.raises(BundleError, match="expected a bundle manifest"):
        load(folder, CATALOGUE, COLUMNS)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("format", 2, "expected bundle format 1, was 2"),
        ("architecture", "tcn", "expected architecture linear, was 'tcn'"),
        ("outputs", ["p_up"], "expected outputs p_up, p_down, mean_bps, sd_bps, was p_up"),
        ("window", 0, "expected a window"),
        ("horizons_s", [300, 60], "expected rising positive horizons"),
        ("horizons_s", [], "expected rising positive horizons"),
        ("horizons_s", [60], r"expected `\w+` to be float32\[1"),
    ],
)
def test_a_manifest_that_this_version_cannot_run_is_refused(folder: Path, key: str, value: Any, says: str) -> None:
    rewrite(folder, lambda m: m.update({key: value}))
    with pytest.raises(BundleError, match=says):
        load(folder, CATALOGUE, COLUMNS)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scale", [1.0, 0.0, 1.0]),
        ("scale", [1.0, -1.0, 1.0]),
        ("clip", [1.0, 1e300, 1.0]),
        ("centre", [0.0]),
        ("log", []),
    ],
)
def test_a_normalisation_that_cannot_be_applied_is_refused(folder: Path, key: str, value: Any) -> None:
    rewrite(folder, lambda m: m["normalisation"].update({key: value}))
    with pytest.raises(BundleError, match=f"`{key}`"):
        load(folder, CATALOGUE, COLUMNS)


def test_another_catalogue_is_refused(folder: Path) -> None:
    with pytest.raises(BundleError, match=r"expected feature catalogue dddd.*was cccc.*fit it again"):
        load(folder, "d" * 64, COLUMNS)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (["spread", "rate", "ofi"], "column 1 to be 'rate', was 'ofi'"),
        ([*COLUMNS, "extra"], "column 3 to be 'extra', was 'nothing'"),
        (COLUMNS[:2], "expected 2 feature columns, was 3"),
    ],
)
def test_other_columns_are_refused_by_name(folder: Path, columns: list[str], says: str) -> None:
    with pytest.raises(BundleError, match=says):
        load(folder, CATALOGUE, columns)


def test_other_tensors_are_refused(folder: Path) -> None:
    made = parts()
    weight, bias = made["weight"], made["bias"]
    wrong = [
        ({"weight": weight}, "expected tensors bias, weight, was weight"),
        ({"weight": weight, "bias": bias, "more": bias}, "expected tensors"),
        ({"weight": weight.astype(np.float64), "bias": bias}, "expected `weight` to be float32"),
        ({"weight": np.ascontiguousarray(weight[:, :, :-1]), "bias": bias}, "expected `weight` to be float32"),
        ({"weight": weight, "bias": np.full_like(bias, np.nan)}, "expected finite numbers in `bias`"),
        ({"weight": np.full_like(weight, np.inf), "bias": bias}, "expected finite numbers in `weight`"),
    ]
    for tensors, says in wrong:
        replace(folder, WEIGHTS, tensors)
        with pytest.raises(BundleError, match=says):
            load(folder, CATALOGUE, COLUMNS)


def test_golden_vectors_of_another_shape_are_refused(folder: Path) -> None:
    tensors = safetensors.numpy.load((folder / GOLDEN).read_bytes())
    replace(folder, GOLDEN, tensors | {"outputs": np.ascontiguousarray(tensors["outputs"][:, :1])})
    with pytest.raises(BundleError, match="expected `outputs` to be float32"):
        load(folder, CATALOGUE, COLUMNS)


def test_weights_that_are_no_safetensors_are_refused(folder: Path) -> None:
    data = b"PK\x03\x04 a zip file, as pickles come"
    (folder / WEIGHTS).write_bytes(data)
    rewrite(folder, lambda m: m.update(weights_sha256=hashlib.sha256(data).hexdigest()))
    with pytest.raises(BundleError, match="expected safetensors"):
        load(folder, CATALOGUE, COLUMNS)
