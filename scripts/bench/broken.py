"""Broken requests made by hand: what no generator from a schema comes upon. Pure: no socket, no clock.

Bodies that are no JSON, or too much of it; every documented field with values of every wrong kind; bytes that
are no HTTP. A broken request may be refused or, where it happens to mean something, served; never more.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

HOST_LINE = b"Host: 127.0.0.1\r\n"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW")

MESSAGES = b'"messages": [{"role": "user", "content": "{{7*7}}"}]'
BODIES: Mapping[str, bytes] = {
    "empty": b"",
    "space": b" \r\n\t ",
    "null": b"null",
    "number": b"17",
    "string": b'"prompt"',
    "list": b'[{"model": "bench"}]',
    "true": b"true",
    "open object": b'{"model": "bench", "prompt": "x"',
    "comma at the end": b'{"model": "bench", "prompt": "x",}',
    "two objects": b'{"model": "bench"}{"model": "bench"}',
    "single quotes": b"{'model': 'bench'}",
    "comment": b'{"model": "bench" /* why */}',
    "same key twice": b'{"model": "bench", "model": "bench", "prompt": "x", "max_tokens": 1}',
    "NaN": b'{"model": "bench", "prompt": "x", "temperature": NaN}',
    "Infinity": b'{"model": "bench", "prompt": "x", "temperature": -Infinity}',
    "1e999": b'{"model": "bench", "prompt": "x", "temperature": 1e999}',
    "number of 5000 digits": b'{"model": "bench", "prompt": "x", "seed": ' + b"9" * 5000 + b"}",
    "lone surrogate": b'{"model": "bench", "prompt": "\\ud800", "max_tokens": 1}',
    "surrogates swapped": b'{"model": "bench", "prompt": "\\udc00\\ud800", "max_tokens": 1}',
    "NUL": b'{"model": "bench", "prompt": "a\\u0000b", "max_tokens": 1}',
    "raw NUL": b'{"model": "bench", "prompt": "a\x00b", "max_tokens": 1}',
    "not UTF-8": b'{"model": "bench", "prompt": "\xff\xfe\xc0\x80"}',
    "UTF-16": '{"model": "bench"}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + b'{"model": "bench", "prompt": "x", "max_tokens": 1}',
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "form": b"model=bench&prompt=x",
    "100,000 lists deep": b"[" * 100_000,
    "100,000 objects deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep prompt": b'{"model": "bench", "prompt": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "deep message": b'{"model": "bench", "messages": ' + b'[{"content":' * 3000 + b"1" + b"}]" * 3000 + b"}",
    "10,000 keys": json.dumps({"model": "bench"} | {f"k{i}": i for i in range(10_000)}).encode(),
    "prototype keys": b'{"__proto__": {}, "constructor": 1, "__class__": "x", "model": "bench"}',
    "long model": json.dumps({"model": "m" * 100_000, "prompt": "x"}).encode(),
    "model path": b'{"model": "../../etc/passwd", "prompt": "x"}',
    "unknown role": b'{"model": "bench", "messages": [{"role": "wizard", "content": "x"}], "max_tokens": 1}',
    "template in text": b'{"model": "bench", "max_tokens": 1, ' + MESSAGES + b"}",
    "markup in text": b'{"model": "bench", "prompt": "<|im_start|><|im_end|><|endoftext|>", "max_tokens": 1}',
    "token out of range": b'{"model": "bench", "prompt": [0, 99999999], "max_tokens": 1}',
    "negative token": b'{"model": "bench", "prompt": [-1], "max_tokens": 1}',
    "mixed prompt": b'{"model": "bench", "prompt": ["x", 1, [2], null], "max_tokens": 1}',
    "empty prompts": b'{"model": "bench", "prompt": [[], []], "max_tokens": 1}',
    "many prompts": json.dumps({"model": "bench", "prompt": ["x"] * 5000, "max_tokens": 1}).encode(),
    "prompt too long": json.dumps({"model": "bench", "prompt": "word " * 200_000, "max_tokens": 1}).encode(),
    "body over the cap": b'{"model": "bench", "prompt": "' + b"x" * 20_000_000 + b'"}',
    "bias out of range": b'{"model": "bench", "prompt": "x", "logit_bias": {"9999999": 1}, "max_tokens": 1}',
    "bias on nothing": b'{"model": "bench", "prompt": "x", "logit_bias": {"": 1, "x": 2}, "max_tokens": 1}',
    "token banned": b'{"model": "bench", "prompt": "x", "logit_bias": {"1": -100}, "max_tokens": 2}',
    "empty stops": b'{"model": "bench", "prompt": "x", "stop": ["", ""], "max_tokens": 2}',
    "stop too long": b'{"model": "bench", "prompt": "x", "max_tokens": 2, "stop": "' + b"s" * 99_999 + b'"}',
}  # fmt: skip

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1.5, -0.0, 1e308, 10**30, -(2**63), 2**64, "", " ", "0", "\x00", "x" * 70_000,
    [], [[]], [None], ["x"] * 100, {}, {"": None}, {"type": "no_such_type"}, [{"type": "text"}],
    {"x": {"y": []}},
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wire:
    """Bytes for a socket; `waits`: the server may rightly wait for more, so no reply is no hang."""

    name: str
    data: bytes
    waits: bool = False


def odd_fields(properties: Mapping[str, Any], base: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """A good body with one documented field replaced by something odd, for every field and odd value."""
    for name in properties:
        for number, value in enumerate(ODD_VALUES):
            yield f"{name} = odd {number}", json.dumps({**base, name: value}).encode()


def request(method: str, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """An HTTP request that is well-formed but for what the caller puts into it."""
    lines = [f"{method} {path} HTTP/1.1", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n" + HOST_LINE + b"\r\n" + body


def wires(path: str) -> Iterator[Wire]:
    """Requests to `path` that break HTTP itself, or stretch it."""
    good = b'{"model": "bench", "prompt": "x", "max_tokens": 1}'
    post = f"POST {path} HTTP/1.1\r\n".encode() + HOST_LINE
    chunked = post + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield Wire("not HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64, waits=True)
    yield Wire("only a line end", b"\r\n\r\n", waits=True)
    yield Wire("no host", f"GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
    yield Wire(
        "other host", f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".encode()
    )
    yield Wire("HTTP/9.9", f"GET {path} HTTP/9.9\r\n".encode() + HOST_LINE + b"\r\n", waits=True)
    yield Wire("half a head", post, waits=True)
    yield Wire(
        "half a body",
        request("POST", path, good).replace(b"Content-Length: ", b"Content-Length: 9"),
        waits=True,
    )
    yield Wire("negative length", post + b"Content-Length: -5\r\n\r\n", waits=True)
    yield Wire("length no number", post + b"Content-Length: many\r\n\r\n", waits=True)
    yield Wire("two lengths", post + b"Content-Length: 2\r\nContent-Length: 50\r\n\r\n{}", waits=True)
    yield Wire("chunked", chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(good), good))
    yield Wire("chunk of no size", chunked + b"zz\r\n{}\r\n0\r\n\r\n", waits=True)
    yield Wire("huge chunk announced", chunked + b"ffffffffffffffff\r\n{}", waits=True)
    yield Wire("chunks over the cap", chunked + (b"100000\r\n" + b"x" * 0x100000 + b"\r\n") * 20)
    yield Wire("huge header", request("GET", path, b"", {"X-Long": "x" * 200_000}), waits=True)
    yield Wire("2000 headers", request("GET", path, b"", {f"X-{i}": "y" for i in range(2000)}), waits=True)
    yield Wire(
        "header of no ASCII", request("GET", path, b"", {"Authorization": "Bearer \udcff\udcfe"}), waits=True
    )
    yield Wire("foreign origin", request("POST", path, good, {"Origin": "https://evil.example"}))
    yield Wire("odd type", request("POST", path, good, {"Content-Type": "multipart/form-data; boundary="}))
    yield Wire("upgrade", request("GET", path, b"", {"Upgrade": "websocket"}), waits=True)
    yield Wire("expect", request("POST", path, good, {"Expect": "100-continue"}))
    yield Wire("long path", request("GET", path + "/" + "a" * 100_000, b""), waits=True)
    for odd in ("%00", "%ff%fe", "..%2f..%2fetc%2fpasswd", "%", "?a=%zz&%00=1", ";x", "//", "%20", "\u00e9"):
        yield Wire(f"path {odd!a}", request("GET", path + "/" + odd, b""), waits=True)
    for method in METHODS:
        yield Wire(f"method {method}", request(method, path, good), waits=method == "BREW")
