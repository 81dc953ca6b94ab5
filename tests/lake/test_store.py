"""Where a lake lies: a folder, and an S3 server in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from data_controller.engine.compact import Compactor
from data_controller.engine.verify_lake import verify_lake
from data_controller.errors import LakeError
from data_controller.lake.catalogue import Catalogue
from data_controller.lake.query import Query
from data_controller.lake.settings import LakeSettings
from data_controller.lake.store import Store
from tests.lake.lake_making import lake_rows, straight


def test_a_file_appears_whole_and_replaces_what_was_there(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "lake"))
    assert store.names() == []
    store.put("a=1/b.parquet", b"first")
    store.put("a=1/b.parquet", b"second")
    assert store.read("a=1/b.parquet").to_pybytes() == b"second"
    assert store.names() == store.names("a=1") == ["a=1/b.parquet"]
    store.remove("a=1/b.parquet")
    assert store.names("a=1") == []


def test_a_file_uri_is_a_folder(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/a%20lake")
    store.put("deep/in/it.parquet", b"x")
    assert store.is_local and (tmp_path / "a lake" / "deep" / "in" / "it.parquet").read_bytes() == b"x"
    for uri in ("file://elsewhere/lake", "file://"):
        with pytest.raises(LakeError, match="whole path"):
            Store(uri)


def test_what_goes_wrong_is_a_lake_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LakeError, match="read nothing"):
        Store(str(tmp_path)).read("nothing")
    with pytest.raises(LakeError, match="write x"):
        Store(str(tmp_path / "file")).put("x", b"")
    with pytest.raises(LakeError, match="open the lake"):
        Store("nowhere://bucket")


def test_both_keys_of_s3_or_none() -> None:
    with pytest.raises(ValueError, match="or neither"):
        LakeSettings.model_validate({"s3_access_key": {"env": "A"}})


@pytest.fixture(scope="module")
def s3() -> Iterator[LakeSettings]:
    """A server that speaks S3 on the loopback, with keys that only it knows."""
    if shutil.which("moto_server", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("moto's server is not installed")
    command = [sys.executable, "-c", "from moto.server import main; main(['-H', '127.0.0.1', '-p', '0'])"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    port = 0
    for line in process.stderr:
        if "Running on" in line:
            port = int(line.rpartition(":")[2].split("/")[0])
            break
    drain = threading.Thread(target=process.stderr.read, daemon=True)
    drain.start()
    try:
        os.environ["LAKE_TEST_KEY"] = "testing"
        assert port, "the server said nothing of its port"
        yield LakeSettings.model_validate(
            {
                "s3_endpoint": f"http://127.0.0.1:{port}",
                "s3_region": "us-east-1",
                "s3_access_key": {"env": "LAKE_TEST_KEY"},
                "s3_secret_key": {"env": "LAKE_TEST_KEY"},
            }
        )
    finally:
        process.terminate()
        process.wait(10)
        drain.join(10)
        process.stderr.close()
        del os.environ["LAKE_TEST_KEY"]


def test_a_lake_in_s3_is_written_read_queried_and_proved(s3: LakeSettings, journal: Path) -> None:
    # What there is no bucket for cannot be written; the compactor makes none.
    scheme, _, host = s3.s3_endpoint.rpartition("://")
    server = pafs.S3FileSystem(
        endpoint_override=host, scheme=scheme, access_key="testing", secret_key="testing", allow_bucket_creation=True
    )
    server.create_dir("bucket")
    uri = "s3://bucket/some/lake"
    store = Store(uri, s3)
    with Compactor(journal, store, s3, commit_bytes=1 << 14) as compactor:
        assert compactor.step() >= 1
    store.put("exchange=x/part-0000000000000000007-1.parquet", b"left behind")
    with Compactor(journal, store, s3, commit_bytes=1 << 14) as compactor:
        assert len(compactor.swept) == 1
        compactor.run()
    catalogue = Catalogue(Store(uri, s3))
    expected, found = straight(journal).rows(), lake_rows(catalogue)
    assert {key: rows.tobytes() for key, rows in found.items()} == {
        key: rows.tobytes() for key, rows in expected.items() if len(rows)
    }
    assert verify_lake(uri, s3, journal)["ok"]
    sql = "SELECT count(*), min(price) > 0 FROM book WHERE instrument = 'tBTCUSD' AND kind IN ('SET', 'ADD')"
    (answer,) = Query(catalogue).run(sql).rows
    assert answer[0] > 100 and answer[1]
