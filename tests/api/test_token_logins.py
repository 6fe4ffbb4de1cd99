"""JSON web tokens over HTTP: who is let in, what is said to the others, what stays unsaid."""

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from llmatic.config import AuthSettings, StoreSettings
from tests.api.conftest import Serve, Served
from tests.fakes import SPEC

SECRET = "0123456789abcdef" * 4
RSA, EC, STRANGER = (
    rsa.generate_private_key(public_exponent=65537, key_size=2048),
    ec.generate_private_key(ec.SECP256R1()),
    ec.generate_private_key(ec.SECP256R1()),
)
PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def claims(**more: Any) -> dict[str, Any]:
    return {"sub": "ann", "exp": int(time.time()) + 600, "iss": "us", "aud": "llmatic"} | more


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(header: dict[str, Any], key: bytes) -> str:
    """Signed as HS256 by hand, which libraries refuse to do with a public key."""
    signed = f"{part(header)}.{part(claims())}"
    return f"{signed}.{part(hmac.digest(key, signed.encode(), hashlib.sha256))}"


@pytest.fixture(scope="module")
def by_keys(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder: Path = tmp_path_factory.mktemp("keys")
    public = [
        {**json.loads(jwt.get_algorithm_by_name(name).to_jwk(key.public_key())), "kid": kid}
        for name, key, kid in (("RS256", RSA, "r"), ("ES256", EC, "e"))
    ]
    (folder / "set.json").write_text(json.dumps({"keys": public}))
    auth = AuthSettings(jwt_keys=str(folder / "set.json"), jwt_issuer="us", jwt_audience="llmatic")
    return serve(store=StoreSettings(folder=str(folder)), auth=auth)


@pytest.fixture(scope="module")
def by_secret(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    auth = AuthSettings(jwt_secret=SECRET, jwt_issuer="us", jwt_audience="llmatic")
    return serve(store=StoreSettings(folder=str(tmp_path_factory.mktemp("own"))), auth=auth)


def get(served: Served, token: str, form: str = "Bearer {}") -> Any:
    name = b"x-api-key" if form == "{}" else b"authorization"
    return served.http.get("/v1/models", headers={name: form.format(token).encode("latin-1")})


@pytest.mark.parametrize(("algorithm", "key", "kid"), [("RS256", RSA, "r"), ("ES256", EC, "e")])
@pytest.mark.parametrize("form", ["Bearer {}", "Api-Key {}", "{}"])
def test_a_token_of_a_known_key_opens(by_keys: Served, algorithm: str, key: Any, kid: str, form: str) -> None:
    assert get(by_keys, jwt.encode(claims(), key, algorithm, headers={"kid": kid}), form).is_success


def test_a_token_of_the_secret_opens_and_names_the_caller(by_secret: Served) -> None:
    by_secret.pool.reset()
    token = jwt.encode(claims(), SECRET)
    by_secret.sdk(token).completions.create(model=SPEC.id, prompt="Hi")
    assert by_secret.pool.requests[0].client == "jwt-ann"


def test_what_a_token_says_of_its_holder(by_secret: Served) -> None:
    limited = {
        "authorization": "Bearer " + jwt.encode(claims(scope="files openid", models=["other"]), SECRET)
    }
    assert by_secret.http.get("/v1/models", headers=limited).json()["data"] == []
    assert by_secret.http.post("/v1/completions", headers=limited).status_code == 403
    assert by_secret.http.get("/v1/organization/admin_api_keys", headers=limited).status_code == 403
    admin = {"authorization": "Bearer " + jwt.encode(claims(scope=["admin"]), SECRET)}
    assert by_secret.http.get("/v1/organization/admin_api_keys", headers=admin).is_success


SECRETLY = [
    jwt.encode(claims(exp=int(time.time()) - 3600), SECRET),
    jwt.encode(claims(iss="them"), SECRET),
    jwt.encode(claims(aud="else"), SECRET),
    jwt.encode({name: value for name, value in claims().items() if name != "exp"}, SECRET),
    jwt.encode({name: value for name, value in claims().items() if name != "sub"}, SECRET),
    jwt.encode(claims(nbf=int(time.time()) + 3600), SECRET),
    jwt.encode(claims(sub=""), SECRET),
    jwt.encode(claims(sub=["ann"]), SECRET),
    jwt.encode(claims(sub="x" * 500), SECRET),
    jwt.encode(claims(sub="a\nb"), SECRET),
    jwt.encode(claims(models={"a": 1}), SECRET),
    jwt.encode(claims(scope=7), SECRET),
    jwt.encode(claims(), SECRET, "HS512"),
    jwt.encode(claims(), "another secret of enough bytes!!"),
    jwt.encode(claims(), "", "none"),
    jwt.encode(claims(), RSA, "RS256"),
    jwt.encode(claims(), SECRET)[:-6] + "AAAAAA",
]
BY_KEY = [
    forged({"alg": "HS256", "kid": "r"}, PEM),
    forged({"alg": "RS256", "kid": "r"}, PEM),
    jwt.encode(claims(), "", "none", headers={"kid": "r"}),
    jwt.encode(claims(), STRANGER, "ES256", headers={"kid": "e"}),
    jwt.encode(claims(), EC, "ES256", headers={"kid": "r"}),
    jwt.encode(claims(), EC, "ES256", headers={"kid": "unknown"}),
    jwt.encode(claims(), EC, "ES256"),
    jwt.encode(claims(), SECRET, headers={"kid": "e"}),
]
NONSENSE = [
    "a.b.c",
    "..",
    "\xff.\xfe.\xfd",
    f"{part(b'[' * 20_000)}.{part({})}.x",
    f"{part({'alg': 'HS256', 'kid': 5})}.{part({})}.x",
    f"{part({'alg': ['HS256']})}.{part({})}.x",
    f"{part({'alg': 'HS256', 'crit': ['b64'], 'b64': False})}.{part({})}.x",
    f"{part([])}.{part([])}.{part([])}",
]


@pytest.mark.parametrize("number", range(len(SECRETLY)))
def test_no_other_token_opens_by_the_secret(by_secret: Served, number: int) -> None:
    refused(by_secret, SECRETLY[number])


@pytest.mark.parametrize("number", range(len(BY_KEY)))
def test_no_other_token_opens_by_keys(by_keys: Served, number: int) -> None:
    refused(by_keys, BY_KEY[number])


@pytest.mark.parametrize("number", range(len(NONSENSE)))
def test_nonsense_is_no_token(by_keys: Served, by_secret: Served, number: int) -> None:
    refused(by_keys, NONSENSE[number])
    refused(by_secret, NONSENSE[number])


def refused(served: Served, token: str) -> None:
    reply = get(served, token)
    error = reply.json()["error"]
    assert (reply.status_code, error["type"], error["code"]) == (
        401,
        "invalid_request_error",
        "invalid_api_key",
    )
    # Nothing of a signature, nor of what it is checked with.
    for secret in (SECRET, token, token.rpartition(".")[2]):
        assert len(secret) < 8 or secret not in reply.text


def test_keys_of_the_database_open_beside_tokens(by_secret: Served) -> None:
    assert get(by_secret, by_secret.make_key()).is_success
    reply = get(by_secret, "sk-llmatic-" + "x" * 40)
    assert reply.json()["error"]["message"].startswith("Incorrect API key provided: sk-llmat****")
