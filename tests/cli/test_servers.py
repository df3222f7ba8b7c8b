"""Servers as users name them."""

from pathlib import Path

import pytest

from clickclean.servers import ServerListError, addresses
from clickclean_server.ownership import Owner
from clickclean_server.registry import Running, register, running, unregister


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("CLICKCLEAN_ADMIN_KEY", raising=False)


def endpoints(*named: str) -> list[str]:
    return [one.endpoint for one in addresses(named, Path("repository"), None)]


def test_named_ones_in_their_order_and_once(tmp_path: Path) -> None:
    listed = tmp_path / "servers.txt"
    listed.write_text("# ours\n10.0.0.1:8001\n\n10.0.0.2:8001  # the second\n")
    assert endpoints("b:8001", f"@{listed}", "10.0.0.1:8001") == [
        "b:8001",
        "10.0.0.1:8001",
        "10.0.0.2:8001",
    ]
    assert "127.0.0.1:8001" in endpoints("dns:localhost:8001")


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("rubbish", "is no server"),
        ("http://a:8001", "is no server"),
        ("a:b", "is no server"),
        ("dns:localhost", "is no server"),
        ("dns:no-such-host.invalid:8001", "has no address"),
        ("@/no/such/file", "cannot be read"),
    ],
)
def test_what_is_no_server(named: str, words: str) -> None:
    with pytest.raises(ServerListError, match=words) as caught:
        endpoints(named)
    assert caught.value.exit_code == 2


def test_an_empty_list_and_an_unreadable_key(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nobody\n")
    with pytest.raises(ServerListError, match="names no server"):
        endpoints(f"@{tmp_path / 'empty'}")
    with pytest.raises(ServerListError, match="key file"):
        addresses(["a:1"], tmp_path, tmp_path / "no-key")


def test_where_a_key_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "key"
    key.write_text("from-file\n")
    monkeypatch.setenv("CLICKCLEAN_ADMIN_KEY", "from-environment")
    (address,) = addresses(["a:1"], tmp_path, key)
    assert address.key == "from-file"
    (address,) = addresses(["a:1"], tmp_path, None)
    assert address.key == "from-environment"
    assert "from-environment" not in repr(address)


def test_without_any_the_running_servers_of_the_repository(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    me = Owner.me()
    register(Running(me.mark, "127.0.0.1:9", str(mine), "cpu", "secret"))
    assert [(one.endpoint, one.key) for one in addresses(None, mine, None)] == [
        ("127.0.0.1:9", "secret")
    ]
    assert addresses(None, other, None) == ()
    # Named, it has its key as well.
    (address,) = addresses(["127.0.0.1:9"], other, None)
    assert address.key == "secret"
    (file,) = (tmp_path / "state" / "clickclean" / "running").iterdir()
    assert file.stat().st_mode & 0o077 == 0
    assert "secret" not in repr(running())
    unregister(me)
    assert running() == []


def test_a_supervisor_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    me = Owner.me()
    gone = Owner(me.namespace, 2**22 - 1, 1)
    register(Running(gone.mark, "127.0.0.1:9", str(tmp_path), "cpu", "secret"))
    assert running(tmp_path) == []
    assert not list((tmp_path / "state" / "clickclean" / "running").iterdir())
