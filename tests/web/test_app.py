"""Every door of the API: Host, Origin, token, method, body; and kill, which needs nobody's answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from data_controller.control import Request
from data_controller.engine.control_server import ControlServer
from data_controller.errors import ConfigError
from data_controller.killswitch import latch as latch_module
from data_controller.killswitch.latch import Latch, prepare
from data_controller.web.app import STATIC, create_app
from data_controller.web.settings import WebSettings, is_loopback

TOKEN = "t" * 43
BEARER = {"Authorization": f"Bearer {TOKEN}"}
CONTROLS = ["kill", "resume", "reload", "subscribe", "unsubscribe", "stop"]


class Still:
    """A source that says the same for ever."""

    def metrics(self, accept: str) -> tuple[bytes, str]:
        return b"m 1\n", "text/plain; version=0.0.4"

    def health(self) -> tuple[int, bytes]:
        return 503, b'{"overall":"failed"}'

    def status(self) -> bytes:
        return b'{"engine":{}}'


class Site:
    """The application on a state directory, with or without an engine."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.latch = Latch(state_dir, lock_wait_s=0.02)
        self.app = create_app(Still(), state_dir, TOKEN, self.latch, ("tunnel.example",))
        self.asked: list[Request] = []

    async def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            return await client.request(method, path, **options)

    def engine(self, request: Request) -> dict[str, Any]:
        self.asked.append(request)
        if request.what == "reload":
            raise ConfigError("unknown key `foo`")
        return {"done": request.what}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    prepare(tmp_path)
    return Site(tmp_path)


def get(site: Site, method: str, path: str, **options: Any) -> httpx.Response:
    return asyncio.run(site(method, path, **options))


def with_engine(site: Site, talk: Callable[[], Any]) -> Any:
    async def main() -> Any:
        server = ControlServer(site.state_dir, site.engine)
        await server.start()
        try:
            return await talk()
        finally:
            await server.stop()

    return asyncio.run(main())


def test_metrics_and_health_are_open_and_health_keeps_its_status(site: Site) -> None:
    assert get(site, "GET", "/metrics").text == "m 1\n"
    answer = get(site, "GET", "/healthz")
    assert (answer.status_code, answer.json()) == (503, {"overall": "failed"})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer " + "x" * 43},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Cookie": f"token={TOKEN}"},
    ],
)
def test_the_api_without_the_token_is_401_and_does_nothing(site: Site, headers: dict[str, str]) -> None:
    for method, path in [
        ("GET", "status"),
        *(("POST", name) for name in CONTROLS),
        ("GET", "nothing"),
        ("PUT", "kill"),
    ]:
        answer = get(site, method, f"/api/v1/{path}", headers=headers)
        assert answer.status_code == 401 and "error" in answer.json()
        assert answer.headers["www-authenticate"] == "Bearer"
    assert get(site, "POST", f"/api/v1/kill?token={TOKEN}", headers=headers).status_code == 401
    assert not site.latch.check().active


def test_a_token_sent_twice_is_refused(site: Site) -> None:
    headers = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", f"Bearer {TOKEN}")]
    assert get(site, "GET", "/api/v1/status", headers=headers).status_code == 401


def test_status_with_the_token(site: Site) -> None:
    answer = get(site, "GET", "/api/v1/status", headers=BEARER)
    assert (answer.status_code, answer.json()) == (200, {"engine": {}})


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8000", "localhost:1", "LOCALHOST", "[::1]:8000", "tunnel.example:443"]
)
def test_hosts_that_are_this_machine_pass_on_any_port(site: Site, host: str) -> None:
    assert get(site, "GET", "/healthz", headers={"Host": host}).status_code == 503


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "user@127.0.0.1", "", "[::1", "0.0.0.0", "2130706433"],
)
@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/api/v1/status"])
def test_a_name_rebound_to_this_machine_is_refused(site: Site, host: str, path: str) -> None:
    assert get(site, "GET", path, headers={**BEARER, "Host": host}).status_code == 421


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "",
        "http://127.0.0.1:9999",
        "http://localhost:8000",
        "file://",
        "http://127.0.0.1:8000@evil",
    ],
)
def test_a_foreign_origin_is_refused_even_with_the_token(site: Site, origin: str) -> None:
    answer = get(site, "POST", "/api/v1/kill", headers={**BEARER, "Origin": origin, "Host": "127.0.0.1:8000"})
    assert answer.status_code == 403
    assert not site.latch.check().active


@pytest.mark.parametrize("fetch_site", ["cross-site", "same-site"])
def test_a_browsers_own_word_for_foreign_is_heard(site: Site, fetch_site: str) -> None:
    headers = {**BEARER, "Sec-Fetch-Site": fetch_site}
    assert get(site, "POST", "/api/v1/kill", headers=headers).status_code == 403
    assert get(site, "GET", "/metrics", headers=headers).status_code == 403
    assert get(site, "GET", "/", headers=headers).status_code == 200  # a link to the page is harmless


def test_our_own_page_passes(site: Site) -> None:
    headers = {**BEARER, "Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}
    assert get(site, "GET", "/api/v1/status", headers=headers).status_code == 200


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_are_not_done_by_get(site: Site, name: str) -> None:
    assert get(site, "GET", f"/api/v1/{name}", headers=BEARER).status_code == 405
    assert not site.latch.check().active


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b'{"reason":"x"}', "text/plain", 415),
        (b"reason=x", "application/x-www-form-urlencoded", 415),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b" " * 70_000, "application/json", 413),
    ],
)
def test_a_body_that_is_no_small_json_object_is_refused(
    site: Site, content: bytes, content_type: str, status: int
) -> None:
    answer = get(site, "POST", "/api/v1/kill", headers={**BEARER, "Content-Type": content_type}, content=content)
    assert answer.status_code == status and "error" in answer.json()
    assert not site.latch.check().active


def test_a_body_of_unstated_length_is_refused(site: Site) -> None:
    headers = {**BEARER, "Transfer-Encoding": "chunked"}
    assert get(site, "POST", "/api/v1/kill", headers=headers).status_code == 413


def test_kill_latches_without_an_engine_and_says_so(site: Site) -> None:
    answer = get(site, "POST", "/api/v1/kill", headers=BEARER, json={"reason": "smoke"})
    body = answer.json()
    assert answer.status_code == 200 and body["latched"] and "not running" in body["engine"]
    state = Latch(site.state_dir).read()
    assert state.active and state.reason == "smoke" and state.who.startswith("web:")


def test_kill_without_a_body_latches_too(site: Site) -> None:
    assert get(site, "POST", "/api/v1/kill", headers=BEARER).status_code == 200
    assert site.latch.check().active


def test_kill_latches_first_and_then_tells_the_engine(site: Site) -> None:
    seen: list[bool] = []
    tell = site.engine

    def engine(request: Request) -> dict[str, Any]:
        seen.append(Latch(site.state_dir).read().active)
        return tell(request)

    site.engine = engine  # type: ignore[method-assign]
    answer = with_engine(site, lambda: site("POST", "/api/v1/kill", headers=BEARER, json={"reason": "smoke"}))
    assert answer.json()["engine"] == "told" and seen == [True]
    assert site.asked[0].body == {"reason": "smoke"}


def test_kill_that_cannot_write_still_tells_the_engine(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(latch_module, "_write_durably", full)
    monkeypatch.setattr(site.latch, "_latch_without_space", full)
    answer = with_engine(site, lambda: site("POST", "/api/v1/kill", headers=BEARER))
    assert answer.status_code == 200 and not answer.json()["latched"] and answer.json()["engine"] == "told"
    assert get(site, "POST", "/api/v1/kill", headers=BEARER).status_code == 500  # and with nobody to tell, it says so


def test_resume_needs_a_reason_and_an_engine_that_agrees(site: Site) -> None:
    site.latch.set("smoke", "test")
    for body in ({}, {"reason": ""}, {"reason": "  "}):
        assert get(site, "POST", "/api/v1/resume", headers=BEARER, json=body).status_code == 400
    assert get(site, "POST", "/api/v1/resume", headers=BEARER, json={"reason": "fine"}).status_code == 409
    assert site.latch.check().active
    answer = with_engine(site, lambda: site("POST", "/api/v1/resume", headers=BEARER, json={"reason": "fine"}))
    assert answer.status_code == 200 and site.asked[0].body == {"reason": "fine"}


def test_the_engines_answers_and_refusals_are_passed_on(site: Site) -> None:
    async def talk() -> tuple[httpx.Response, httpx.Response]:
        return await site("POST", "/api/v1/stop", headers=BEARER), await site("POST", "/api/v1/reload", headers=BEARER)

    stop, reload = with_engine(site, talk)
    assert (stop.status_code, stop.json()) == (200, {"done": "stop"})
    assert (reload.status_code, reload.json()) == (409, {"error": "unknown key `foo`"})


@pytest.mark.parametrize("path", ["/", "/app.js", "/healthz", "/api/v1/status", "/nothing"])
def test_every_answer_forbids_what_a_page_of_ours_never_needs(site: Site, path: str) -> None:
    headers = get(site, "GET", path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY" and headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers


def test_the_page_needs_nothing_from_outside_and_nothing_inline() -> None:
    text = (STATIC / "index.html").read_text() + (STATIC / "app.js").read_text() + (STATIC / "style.css").read_text()
    text = text.replace("http://www.w3.org/2000/svg", "")
    assert "http://" not in text and "https://" not in text and "innerHTML" not in text and "eval(" not in text
    html = (STATIC / "index.html").read_text()
    assert "style=" not in html and "onclick" not in html and "<script>" not in html


def test_the_page_and_its_files_are_served(site: Site) -> None:
    assert get(site, "GET", "/").headers["content-type"].startswith("text/html")
    for name in ("app.js", "style.css", "icon.svg"):
        assert get(site, "GET", f"/{name}").status_code == 200


@pytest.mark.parametrize("path", ["/../settings.py", "/%2e%2e/settings.py", "/static/app.js", "/api", "/docs"])
def test_nothing_else_is_served(site: Site, path: str) -> None:
    assert get(site, "GET", path, headers=BEARER).status_code == 404


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.com", "", "127.0.0.1.nip.io"])
def test_beyond_loopback_is_a_config_error(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ValidationError, match="loopback"):
        WebSettings(host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_accepted(host: str) -> None:
    assert WebSettings(host=host).host == host


@pytest.mark.parametrize("name", ["*", "a:80", "http://a", ""])
def test_an_allowed_host_is_a_bare_name(name: str) -> None:
    with pytest.raises(ValidationError):
        WebSettings(allowed_hosts=(name,))
