"""Where the live page is served."""

import webbrowser

import pytest

from masktrain_trainer.detect.live import _host_and_port, _opened, bind
from masktrain_trainer.errors import InvalidConfiguration


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("", ("127.0.0.1", 8080)),
        ("9000", ("127.0.0.1", 9000)),
        (":0", ("127.0.0.1", 0)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("camera.example", ("camera.example", 8080)),
        ("[::1]:9", ("::1", 9)),
        ("[::]", ("::", 8080)),
    ],
)
def test_host_and_port_may_each_be_left_out(address: str, place: tuple[str, int]) -> None:
    assert _host_and_port(address) == place


@pytest.mark.parametrize("address", ["http://localhost:80", "::1", "a:b", "host:70000", "two words:1", "host:", "[]:1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidConfiguration, match=r"HOST:PORT"):
        _host_and_port(address)


def test_a_name_that_no_host_can_have_is_refused() -> None:
    with pytest.raises(InvalidConfiguration, match="no such host"):
        bind(f"{'a' * 70}.example:0")


class Window(webbrowser.BaseBrowser):
    """A browser with a window of its own."""

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
        return url == "http://127.0.0.1:1/"


def test_only_a_browser_with_a_window_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webbrowser, "get", Window)
    assert _opened("http://127.0.0.1:1/")
    monkeypatch.setattr(webbrowser, "get", lambda: webbrowser.GenericBrowser("false"))
    assert not _opened("http://127.0.0.1:1/")

    def none() -> webbrowser.BaseBrowser:
        raise webbrowser.Error

    monkeypatch.setattr(webbrowser, "get", none)
    assert not _opened("http://127.0.0.1:1/")
