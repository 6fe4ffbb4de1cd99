import datetime
import ipaddress
import json
import re
import uuid

import jsonschema_rs
import pytest

from llmatic.engines.constraints.formats import PATTERNS, pattern_of
from tests.engines.constraints.walking import Walker, read

GOOD = {
    "date": ["2024-02-29", "2000-02-29", "1999-12-31", "0001-01-01"],
    "time": ["23:59:59Z", "00:00:00.123+01:00"],
    "date-time": ["2026-11-21T16:00:00Z", "2024-02-29T00:00:00.5-23:59"],
    "duration": ["P1Y2M3DT4H5M6S", "PT5M", "P3W", "P1D"],
    "email": ["jane.doe+tag@mail.example.com"],
    "hostname": ["localhost", "a-b.example.com", "x1"],
    "ipv4": ["0.0.0.0", "255.255.255.255", "192.168.1.1"],
    "ipv6": [
        "::",
        "::1",
        "fe80::1",
        "1:2:3:4:5:6:7:8",
        "1::",
        "1:2:3:4:5:6:7::",
        "2001:db8::8:800:200c:417a",
    ],
    "uuid": ["123e4567-e89b-12d3-a456-426614174000"],
    "uri": ["https://example.com/a?b=c#d", "http://localhost:8080/", "mailto:a@b.de", "urn:isbn:0451450523"],
    "byte": ["", "aGk=", "aGVsbG8h"],
}
BAD = {
    "date": ["2023-02-29", "1900-02-29", "2024-13-01", "2024-04-31", "0000-01-01", "24-01-01"],
    "time": ["23:59:60Z", "24:00:00Z", "12:00:00", "12:00Z"],
    "date-time": ["2026-11-21 16:00:00Z", "2026-11-21T16:00:00", "2026-11-21t16:00:00z"],
    "duration": ["P", "PT", "P1S", "1D", "P1Y1D"],
    "email": ["a@b", "a..b@c.de", ".a@c.de", "a@-c.de"],
    "hostname": ["-a", "a-", "a--b", "a..b", ""],
    "ipv4": ["256.0.0.1", "01.2.3.4", "1.2.3"],
    "ipv6": ["1:2:3:4:5:6:7", ":::", "1::2::3", "12345::", "1:2:3:4:5:6:7:8:9"],
    "uuid": ["123e4567e89b12d3a456426614174000", "123e4567-e89b-92d3-a456-426614174000"],
    "uri": ["example.com", "http://", "https://exa mple.com"],
    "byte": ["a", "aGk", "aG=k"],
}


@pytest.mark.parametrize("name", PATTERNS)
def test_formats_hold_what_they_should(name: str) -> None:
    for text in GOOD[name]:
        assert re.search(PATTERNS[name], text), text
    for text in BAD[name]:
        assert not re.search(PATTERNS[name], text), text


@pytest.mark.parametrize("name", PATTERNS)
def test_every_answer_is_valid_for_strict_readers(walker: Walker, name: str) -> None:
    schema = {"type": "string", "format": name}
    compiled = walker.compile("json_schema", json.dumps(schema))
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    readers = {
        "date": datetime.date.fromisoformat,
        "time": datetime.time.fromisoformat,
        "date-time": datetime.datetime.fromisoformat,
        "ipv4": ipaddress.IPv4Address,
        "ipv6": ipaddress.IPv6Address,
        "uuid": uuid.UUID,
    }
    for seed in range(40):
        answer = walker.walk(compiled, seed, n_free=20)
        assert answer is not None
        text = read(answer)
        assert validator.is_valid(text), text
        readers.get(name, str)(text)


def test_other_names_of_formats() -> None:
    assert pattern_of("url") == PATTERNS["uri"]
    assert pattern_of("colour") is None
