import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from llmatic.api.auth import Authenticator
from llmatic.config import AuthSettings, ServerSettings, Settings, StoreSettings
from llmatic.core.errors import ConfigError, Unauthorized
from llmatic.services.exposure import is_loopback, may_be_open, require_keys
from llmatic.services.stored import open_keys


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("192.0.2.1", False), ("::ffff:127.0.0.1", False), ("no such host", False),
    ],
)  # fmt: skip
def test_who_can_reach_it(host: str, is_local: bool) -> None:
    assert is_loopback(host) is is_local
    assert may_be_open(ServerSettings(host=host)) is is_local
    assert may_be_open(ServerSettings(host=host, insecure=True))


def test_a_server_for_others_needs_a_key(tmp_path: Path) -> None:
    store = StoreSettings(folder=str(tmp_path))
    database, keys = open_keys(store, AuthSettings())
    everywhere = Settings(server=ServerSettings(host="0.0.0.0"))
    assert require_keys(Settings(), keys) is False
    assert require_keys(Settings(server=ServerSettings(host="0.0.0.0", insecure=True)), keys) is False
    with pytest.raises(ConfigError, match=r"llmatic keys create -n me.*--insecure.*container") as caught:
        require_keys(everywhere, keys)
    assert "\n" not in caught.value.message
    assert require_keys(Settings(server=ServerSettings(host="0.0.0.0", api_keys=("k" * 8,))), keys) is True
    assert require_keys(Settings(server=everywhere.server, auth=AuthSettings(jwt_keys="x")), keys) is True
    asyncio.run(keys.create("k"))
    assert require_keys(everywhere, keys) is True
    asyncio.run(database.close())


def test_a_server_whose_keys_are_gone_does_not_start_open(tmp_path: Path) -> None:
    """Neither to this machine, where a proxy may pass others on, nor with --insecure."""
    database, keys = open_keys(StoreSettings(folder=str(tmp_path)), AuthSettings())
    revoked, _ = asyncio.run(keys.create("k"))
    expired, _ = asyncio.run(keys.create("k", lifetime_s=1e-6))
    asyncio.run(keys.revoke(revoked.id))
    insecure = Settings(server=ServerSettings(host="0.0.0.0", insecure=True))
    for settings in (Settings(), insecure):
        with capture_logs() as logs:
            assert require_keys(settings, keys) is True
        assert [line["event"] for line in logs] == ["no_key_opens"]
    with pytest.raises(Unauthorized):
        asyncio.run(Authenticator((), keys).identify(None, None))
    for record in (revoked, expired):
        asyncio.run(keys.forget(record.id))
    assert require_keys(Settings(), keys) is False
    asyncio.run(database.close())


def test_the_last_key_that_expires_opens_no_server_to_others(tmp_path: Path) -> None:
    database, keys = open_keys(StoreSettings(folder=str(tmp_path)), AuthSettings())
    with pytest.raises(Unauthorized):
        asyncio.run(Authenticator((), keys, may_be_open=False).identify(None, None))
    assert asyncio.run(Authenticator((), keys).identify(None, None)).is_anonymous
    asyncio.run(database.close())
