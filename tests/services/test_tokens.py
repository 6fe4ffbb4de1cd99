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

from llmatic.config import AuthSettings
from llmatic.core.errors import Unauthorized
from llmatic.services.key_sets import REFETCH_S
from llmatic.services.tokens import Tokens

pytestmark = pytest.mark.anyio

SECRET = "0123456789abcdef0123456789abcdef"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())


def claims(**more: Any) -> dict[str, Any]:
    return {"sub": "ann", "exp": time.time() + 600, "iss": "us", "aud": "llmatic"} | more


def jwks(folder: Path, **keys: Any) -> str:
    path = folder / "jwks.json"
    made = []
    for key_id, key in keys.items():
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        kind = jwt.get_algorithm_by_name(algorithm)
        made.append(json.loads(kind.to_jwk(key.public_key())) | {"kid": key_id, "alg": algorithm})
    path.write_text(json.dumps({"keys": made}))
    return str(path)


async def test_a_secret_opens_and_says_who() -> None:
    tokens = Tokens(AuthSettings(jwt_secret=SECRET, jwt_issuer="us", jwt_audience="llmatic"))
    found = await tokens.recognise(jwt.encode(claims(scope="files other", models=["m"]), SECRET))
    assert (found.id, found.owner, found.scopes, found.models) == (
        "jwt-ann",
        "jwt-ann",
        frozenset({"files"}),
        frozenset({"m"}),
    )
    plain = await tokens.recognise(jwt.encode(claims(), SECRET))
    assert plain.scopes == {"inference", "files", "training"}


@pytest.mark.parametrize(("algorithm", "key"), [("RS256", RSA), ("ES256", EC)])
async def test_public_keys_open(tmp_path: Path, algorithm: str, key: Any) -> None:
    tokens = Tokens(AuthSettings(jwt_keys=jwks(tmp_path, r=RSA, e=EC)))
    kid = "r" if key is RSA else "e"
    found = await tokens.recognise(jwt.encode(claims(), key, algorithm, headers={"kid": kid}))
    assert found.owner == "jwt-ann"


@pytest.mark.parametrize(
    "more", [{"exp": 1}, {"iss": "them"}, {"aud": "else"}, {"exp": None}, {"sub": None}, {"nbf": 2**40}]
)
async def test_what_is_not_meant_for_us_does_not_open(more: dict[str, Any]) -> None:
    tokens = Tokens(AuthSettings(jwt_secret=SECRET, jwt_issuer="us", jwt_audience="llmatic"))
    wrong = {name: value for name, value in claims(**more).items() if value is not None}
    with pytest.raises(Unauthorized):
        await tokens.recognise(jwt.encode(wrong, SECRET))


async def test_the_token_does_not_choose_the_algorithm(tmp_path: Path) -> None:
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    by_key = Tokens(AuthSettings(jwt_keys=jwks(tmp_path, r=RSA)))
    none = jwt.encode(claims(), "", "none")
    header = jwt.utils.base64url_encode(json.dumps({"alg": "HS256", "kid": "r"}).encode()).decode()
    body = jwt.utils.base64url_encode(json.dumps(claims()).encode()).decode()
    signed = hmac.digest(public, f"{header}.{body}".encode(), hashlib.sha256)
    confused = f"{header}.{body}.{jwt.utils.base64url_encode(signed).decode()}"
    for token in (none, confused):
        with pytest.raises(Unauthorized):
            await by_key.recognise(token)
    with pytest.raises(Unauthorized):
        await Tokens(AuthSettings(jwt_secret=SECRET)).recognise(none)
    with pytest.raises(Unauthorized):
        await Tokens(AuthSettings(jwt_secret=SECRET)).recognise(jwt.encode(claims(), RSA, "RS256"))


@pytest.mark.parametrize("token", ["", "a.b.c", "ey.ey.ey", "ключ", jwt.encode({"sub": "x"}, SECRET)[:-4]])
async def test_nonsense_does_not_open(token: str) -> None:
    with pytest.raises(Unauthorized):
        await Tokens(AuthSettings(jwt_secret=SECRET)).recognise(token)


async def test_a_good_token_is_remembered_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Tokens(AuthSettings(jwt_secret=SECRET))
    token = jwt.encode(claims(exp=time.time() + 3), SECRET)
    found = await tokens.recognise(token)
    monkeypatch.setattr(jwt, "decode", None)  # it is not asked again
    assert await tokens.recognise(token) is found
    monkeypatch.undo()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3)
    monkeypatch.setattr(jwt, "decode", lambda *_, **__: claims(sub="bob"))
    assert (await tokens.recognise(token)).owner == "jwt-bob"


async def test_a_new_key_is_fetched_when_a_token_names_it(tmp_path: Path) -> None:
    now = [0.0]
    tokens = Tokens(AuthSettings(jwt_keys=jwks(tmp_path, old=RSA)), clock=lambda: now[0])
    await tokens.recognise(jwt.encode(claims(), RSA, "RS256", headers={"kid": "old"}))
    jwks(tmp_path, new=EC)
    token = jwt.encode(claims(), EC, "ES256", headers={"kid": "new"})
    with pytest.raises(Unauthorized, match="no key 'new'"):
        await tokens.recognise(token)
    now[0] += REFETCH_S
    assert (await tokens.recognise(token)).owner == "jwt-ann"


@pytest.mark.parametrize("exp", ["9" * 400, "1e400", "1e308", "NaN", '"soon"', "true", "null", "[1]"])
async def test_no_expiry_is_a_fault_of_ours(exp: str) -> None:
    header = jwt.utils.base64url_encode(b'{"alg": "HS256"}')
    signed = header + b"." + jwt.utils.base64url_encode(b'{"sub": "ann", "exp": %b}' % exp.encode())
    sum_ = jwt.utils.base64url_encode(hmac.digest(SECRET.encode(), signed, hashlib.sha256))
    tokens = Tokens(AuthSettings(jwt_secret=SECRET))
    token = (signed + b"." + sum_).decode()
    if exp in ("9" * 400, "1e308"):  # far, and yet a time
        assert (await tokens.recognise(token)).owner == "jwt-ann"
    else:
        with pytest.raises(Unauthorized):
            await tokens.recognise(token)


@pytest.mark.parametrize(
    "subject", ["anonymous", "key_0123456789abcdef01234567", "key-0123456789abcdef", "jwt-a"]
)
async def test_no_subject_is_somebody_elses_name(subject: str) -> None:
    tokens = Tokens(AuthSettings(jwt_secret=SECRET))
    found = await tokens.recognise(jwt.encode(claims(sub=subject), SECRET))
    assert (found.id, found.owner, found.kind) == (f"jwt-{subject}", f"jwt-{subject}", "token")
    assert not found.is_anonymous


@pytest.mark.parametrize(
    "header", [{"crit": ["exp"]}, {"crit": ["b64"], "b64": False}, {"crit": "b64"}, {"crit": []}]
)
async def test_what_a_header_calls_critical_must_be_understood(header: dict[str, Any]) -> None:
    part = jwt.utils.base64url_encode(json.dumps({"alg": "HS256", **header}).encode())
    signed = part + b"." + jwt.utils.base64url_encode(json.dumps(claims()).encode())
    sum_ = jwt.utils.base64url_encode(hmac.digest(SECRET.encode(), signed, hashlib.sha256))
    with pytest.raises(Unauthorized):
        await Tokens(AuthSettings(jwt_secret=SECRET)).recognise((signed + b"." + sum_).decode())
