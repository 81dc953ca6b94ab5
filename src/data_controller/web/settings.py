"""Config of the web server that the monitor process runs."""

from __future__ import annotations

from ipaddress import ip_address

from pydantic import field_validator

from data_controller.settings import Section, restart


def is_loopback(host: str) -> bool:
    """True where `host` is this machine alone, by its literal address or the name `localhost`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class WebSettings(Section):
    """Where `/metrics`, `/healthz`, the control API and the status page are served."""

    host: str = restart("127.0.0.1", description="Loopback address to listen on.")
    port: int = restart(0, ge=0, le=65535, description="Port to listen on; 0 chooses a free one.")
    allowed_hosts: tuple[str, ...] = restart(
        (), description="Further names that a request's Host header may carry, such as a tunnel's; never `*`."
    )

    @field_validator("host")
    @classmethod
    def _loopback(cls, host: str) -> str:
        if not is_loopback(host):
            raise ValueError(
                f"expected a loopback address (127.0.0.1, ::1 or localhost), was {host!r}; reach it from elsewhere"
                " through a tunnel (`ssh -L`)"
            )
        return host

    @field_validator("allowed_hosts")
    @classmethod
    def _named(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not name or any(c in name for c in "*:/ "):
                raise ValueError(f"expected a bare host name, was {name!r}")
        return tuple(name.lower() for name in names)
