"""`llmatic serve`: what is settled before the server starts."""

from llmatic.cli.serve import check_address, with_overrides
from llmatic.config import ServerSettings, Settings

SETTINGS = Settings(server=ServerSettings(host="10.0.0.1", port=1))


def test_options_override_the_configuration() -> None:
    assert with_overrides(SETTINGS, None, None) == SETTINGS
    assert with_overrides(SETTINGS, "::1", 0).server == ServerSettings(host="::1", port=0)
    assert with_overrides(SETTINGS, None, None, insecure=True).server.insecure


def test_a_free_address_is_fine() -> None:
    check_address("127.0.0.1", 0)
    check_address("localhost", 0)
