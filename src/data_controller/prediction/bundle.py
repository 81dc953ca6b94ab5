"""A model bundle: weights, manifest and golden vectors in one directory, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os  # noqa: TID251 - saving must fsync; loading and predicting touch nothing of the operating system
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from data_controller.errors import BundleError
from data_controller.prediction.forward import OUTPUTS

FORMAT = 1
ARCHITECTURES = ("linear",)
MANIFEST, WEIGHTS, GOLDEN = "manifest.json", "weights.safetensors", "golden.safetensors"
MAX_FILE_BYTES = 1 << 28
GOLDEN_TOLERANCE = 1e-5


class Normalisation(msgspec.Struct, frozen=True, kw_only=True):
    """What turns raw columns into inputs: clip((y - centre) / scale, -clip, clip), a value a column.

    y is the raw value x, or sign(x) log(1 + |x|) where `log` says so.
    """

    centre: list[float]
    scale: list[float]
    clip: list[float]
    log: list[bool]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`manifest.json`: what the weights are, what they were fitted on and what they are bound to."""

    format: int
    name: str
    architecture: str
    sizes: dict[str, int]
    catalogue_hash: str
    columns: list[str]
    window: int  # grid steps of history in one input
    horizons_s: list[int]
    outputs: list[str]
    normalisation: Normalisation
    label: str  # definition of what was predicted
    trained_on: str  # simulator, or the venue and its span
    live_money: bool  # False: must never act on live money
    notice: str
    training: dict[str, Any]
    metrics: dict[str, Any]
    code_version: str
    weights_sha256: str = ""  # both filled in by `save`
    golden_sha256: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """Inputs and the outputs that every tier must reproduce to `GOLDEN_TOLERANCE`."""

    features: NDArray[np.float32]  # [n, window, features]
    valid: NDArray[np.uint8]  # [n, window, features]
    outputs: NDArray[np.float32]  # [n, horizons, 4]
    usable: NDArray[np.uint8]  # [n]


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A bundle that passed every check; `hash` names exactly these weights and this manifest."""

    manifest: Manifest
    weight: NDArray[np.float32]  # [horizons, outputs, window * features]
    bias: NDArray[np.float32]  # [horizons, outputs]
    golden: Golden
    hash: str

    @property
    def horizons_s(self) -> tuple[int, ...]:
        """Horizons in seconds, in the order of the outputs' second axis."""
        return tuple(self.manifest.horizons_s)


def shipped() -> Path:
    """Directory of the bundle inside the package: a small linear model fitted on simulated data, a demonstration."""
    return Path(__file__).parent / "bundles" / "demo-linear"


def save(
    directory: Path, manifest: Manifest, weight: NDArray[np.float32], bias: NDArray[np.float32], golden: Golden
) -> str:
    """Write a bundle (to a neighbour, fsync, rename) and return its hash; an older one of that name is replaced.

    Whoever reads meanwhile finds the old one, none, or the new one, never half of one. Raises BundleError where the
    parts do not fit each other; nothing is written then.
    """
    weights = safetensors.numpy.save({"weight": _packed(weight, "<f4"), "bias": _packed(bias, "<f4")})
    vectors = safetensors.numpy.save(
        {
            "features": _packed(golden.features, "<f4"),
            "valid": _packed(golden.valid, "u1"),
            "outputs": _packed(golden.outputs, "<f4"),
            "usable": _packed(golden.usable, "u1"),
        }
    )
    manifest = msgspec.structs.replace(
        manifest, weights_sha256=hashlib.sha256(weights).hexdigest(), golden_sha256=hashlib.sha256(vectors).hexdigest()
    )
    try:
        text = json.dumps(msgspec.to_builtins(manifest), indent=1, allow_nan=False).encode()
    except ValueError as error:
        raise BundleError(f"expected finite numbers in the manifest, was: {error}") from error
    _check(directory, text, weights, vectors, manifest.catalogue_hash, manifest.columns)
    staging = directory.with_name(directory.name + ".new")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    for name, data in ((WEIGHTS, weights), (GOLDEN, vectors), (MANIFEST, text)):
        with (staging / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    _sync_directory(staging)
    if directory.exists():
        old = directory.with_name(directory.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        directory.rename(old)
        staging.rename(directory)
        shutil.rmtree(old)
    else:
        staging.rename(directory)
    _sync_directory(directory.parent)
    return bundle_hash(text, weights)


def load(directory: Path, catalogue_hash: str, columns: list[str]) -> Bundle:
    """The bundle in `directory`, checked against the running feature catalogue.

    Raises BundleError where a file is missing, damaged or foreign, where shapes, numbers or hashes are wrong, and where
    the bundle was fitted on another catalogue; the text says what was expected, what was found and what to do.
    """
    text, weights, vectors = (_read(directory, name) for name in (MANIFEST, WEIGHTS, GOLDEN))
    return _check(directory, text, weights, vectors, catalogue_hash, columns)


def bundle_hash(manifest: bytes, weights: bytes) -> str:
    """SHA-256 over the manifest's canonical JSON and the weights' bytes; layout of the JSON text does not matter."""
    canonical = json.dumps(json.loads(manifest), sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(canonical + b"\0" + weights).hexdigest()


def _packed(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    return np.ascontiguousarray(array, np.dtype(dtype))


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(directory: Path, name: str) -> bytes:
    path = directory / name
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise BundleError(f"expected at most {MAX_FILE_BYTES} bytes in {path}, was {size}: this is no bundle")
        return path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"expected a readable {name} in the bundle {directory}, was: {error.strerror or error}; "
            "set `prediction.bundle` to a complete bundle directory"
        ) from error


def _check(
    directory: Path, text: bytes, weights: bytes, vectors: bytes, catalogue_hash: str, columns: list[str]
) -> Bundle:
    manifest = _manifest(directory, text)
    for name, data, expected in (
        (WEIGHTS, weights, manifest.weights_sha256),
        (GOLDEN, vectors, manifest.golden_sha256),
    ):
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            raise BundleError(
                f"expected sha256 {expected[:16]}… of {directory / name}, was {found[:16]}…: "
                "the file is damaged or of another bundle; restore the bundle from its origin"
            )
    _check_catalogue(directory, manifest, catalogue_hash, columns)
    horizons, inputs = len(manifest.horizons_s), manifest.window * len(manifest.columns)
    tensors = _tensors(
        directory / WEIGHTS,
        weights,
        {"weight": ("float32", (horizons, len(OUTPUTS), inputs)), "bias": ("float32", (horizons, len(OUTPUTS)))},
    )
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise BundleError(f"expected finite numbers in `{name}` of {directory / WEIGHTS}, was NaN or infinite")
    return Bundle(
        manifest, tensors["weight"], tensors["bias"], _golden(directory, manifest, vectors), bundle_hash(text, weights)
    )


def _manifest(directory: Path, text: bytes) -> Manifest:
    path = directory / MANIFEST
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(
            f"expected a bundle manifest in {path}, was: {error}; the file is damaged or foreign"
        ) from error
    if manifest.format != FORMAT:
        raise BundleError(
            f"expected bundle format {FORMAT}, was {manifest.format} ({path}); "
            "fit the model again with this version, or run the version that wrote it"
        )
    if manifest.architecture not in ARCHITECTURES:
        raise BundleError(f"expected architecture {' or '.join(ARCHITECTURES)}, was {manifest.architecture!r} ({path})")
    if tuple(manifest.outputs) != OUTPUTS:
        raise BundleError(f"expected outputs {', '.join(OUTPUTS)}, was {', '.join(manifest.outputs)} ({path})")
    if not 1 <= manifest.window <= 1 << 16:
        raise BundleError(f"expected a window of 1 to {1 << 16} steps, was {manifest.window} ({path})")
    horizons = manifest.horizons_s
    if not horizons or horizons != sorted(set(horizons)) or horizons[0] <= 0:
        raise BundleError(f"expected rising positive horizons, was {horizons} ({path})")
    norm = manifest.normalisation
    for name, values in (("centre", norm.centre), ("scale", norm.scale), ("clip", norm.clip), ("log", norm.log)):
        if len(values) != len(manifest.columns):
            raise BundleError(f"expected {len(manifest.columns)} values in `{name}`, was {len(values)} ({path})")
        if name == "log":
            continue
        with np.errstate(over="ignore"):
            array = np.asarray(values, np.float32)
        if not np.isfinite(array).all() or (name != "centre" and (array <= 0).any()):
            raise BundleError(f"expected finite{' positive' if name != 'centre' else ''} numbers in `{name}` ({path})")
    return manifest


def _check_catalogue(directory: Path, manifest: Manifest, catalogue_hash: str, columns: list[str]) -> None:
    advice = f"fit it again on this catalogue or choose another bundle ({directory})"
    if manifest.columns != columns:
        for i, name in enumerate(columns):
            found = manifest.columns[i] if i < len(manifest.columns) else "nothing"
            if found != name:
                raise BundleError(f"expected feature column {i} to be {name!r}, was {found!r}; {advice}")
        raise BundleError(f"expected {len(columns)} feature columns, was {len(manifest.columns)}; {advice}")
    if manifest.catalogue_hash != catalogue_hash:
        raise BundleError(
            f"expected feature catalogue {catalogue_hash[:16]}…, was {manifest.catalogue_hash[:16]}…: "
            f"the formulas or parameters behind the columns changed; {advice}"
        )


def _tensors(path: Path, data: bytes, expected: dict[str, tuple[str, tuple[int, ...]]]) -> dict[str, NDArray[Any]]:
    try:
        tensors = safetensors.numpy.load(data)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"expected safetensors in {path}, was: {error}; the file is damaged or foreign") from error
    if set(tensors) != set(expected):
        raise BundleError(f"expected tensors {', '.join(sorted(expected))}, was {', '.join(sorted(tensors))} ({path})")
    for name, (dtype, shape) in expected.items():
        tensor = tensors[name]
        if tensor.dtype != np.dtype(dtype) or tensor.shape != shape:
            raise BundleError(
                f"expected `{name}` to be {dtype}{list(shape)}, was {tensor.dtype}{list(tensor.shape)} ({path})"
            )
    return tensors


def _golden(directory: Path, manifest: Manifest, data: bytes) -> Golden:
    try:
        n = len(safetensors.numpy.load(data).get("usable", ()))
    except (SafetensorError, KeyError, TypeError, ValueError):
        n = 0
    shape = (n, manifest.window, len(manifest.columns))
    tensors = _tensors(
        directory / GOLDEN,
        data,
        {
            "features": ("float32", shape),
            "valid": ("uint8", shape),
            "outputs": ("float32", (n, len(manifest.horizons_s), len(OUTPUTS))),
            "usable": ("uint8", (n,)),
        },
    )
    if not tensors["usable"].any():
        raise BundleError(f"expected golden vectors with at least one usable row in {directory / GOLDEN}, was none")
    return Golden(tensors["features"], tensors["valid"], tensors["outputs"], tensors["usable"])
