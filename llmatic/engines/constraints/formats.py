"""The string formats that can be enforced, as regular expressions.

Each is a subset of what its format allows, chosen so that strict validators of every language agree: whole
dates exist, seconds end at 59, lengths stay within the limits of mail and names. Pure; any thread.
"""

from types import MappingProxyType

_TWO = r"[0-9][1-9]|[1-9][0-9]"
_LEAP_YEAR = r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_YEAR = rf"(?:[0-9]{{2}}(?:{_TWO})|(?:{_TWO})00)"
_DATE = (
    rf"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    rf"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
_TIME = (
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_N = r"[0-9]{1,6}"
_DAYS = rf"(?:{_N}Y(?:{_N}M(?:{_N}D)?)?|{_N}M(?:{_N}D)?|{_N}D)"
_CLOCK = rf"T(?:{_N}H(?:{_N}M(?:{_N}S)?)?|{_N}M(?:{_N}S)?|{_N}S)"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9]|-[a-zA-Z0-9]){0,30}"
_TOP_LABEL = r"[a-zA-Z]{2,24}"
_HOST = rf"{_LABEL}(?:\.{_LABEL}){{0,2}}"
_DOMAIN = rf"(?:{_LABEL}\.){{1,3}}{_TOP_LABEL}"
_ATOM = r"[a-zA-Z0-9_+-]{1,20}"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"(?:{_OCTET}\.){{3}}{_OCTET}"
_GROUP = r"[0-9a-fA-F]{1,4}"
_IPV6 = "|".join(
    [
        rf"(?:{_GROUP}:){{7}}{_GROUP}",
        rf"::(?:(?:{_GROUP}:){{0,5}}{_GROUP})?",
        rf"{_GROUP}(?::{_GROUP}){{0,6}}::",
    ]
    + [
        rf"{_GROUP}(?::{_GROUP}){{0,{before - 1}}}::(?:{_GROUP}:){{0,{5 - before}}}{_GROUP}"
        for before in range(1, 6)
    ]
)
_PATH_CHARACTER = r"(?:[a-zA-Z0-9\-._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})"
_TAIL = rf"(?:/{_PATH_CHARACTER}*)*(?:\?(?:{_PATH_CHARACTER}|[/?])*)?(?:#(?:{_PATH_CHARACTER}|[/?])*)?"
_HEX = r"[0-9a-fA-F]"

# Format → regular expression of the whole text. Sources: RFC 3339 (dates, times; appendix A durations),
# RFC 5321 and 1123 (mail, hosts), RFC 4291 (IPv6), RFC 9562 (UUID), RFC 3986 (URI).
PATTERNS = MappingProxyType(
    {
        "date": f"^{_DATE}$",
        "time": f"^{_TIME}$",
        "date-time": f"^{_DATE}T{_TIME}$",
        "duration": f"^P(?:{_DAYS}(?:{_CLOCK})?|{_CLOCK}|{_N}W)$",
        "email": rf"^{_ATOM}(?:\.{_ATOM}){{0,2}}@{_DOMAIN}$",
        "hostname": f"^{_HOST}$",
        "ipv4": f"^{_IPV4}$",
        "ipv6": f"^(?:{_IPV6})$",
        "uuid": f"^{_HEX}{{8}}-{_HEX}{{4}}-[1-8]{_HEX}{{3}}-[89abAB]{_HEX}{{3}}-{_HEX}{{12}}$",
        "uri": rf"^(?:https?|ftp|wss?|file)://(?:{_DOMAIN}|localhost|{_IPV4})(?::[1-9][0-9]{{0,3}})?{_TAIL}$"
        rf"|^urn:[a-zA-Z][a-zA-Z0-9]{{1,20}}:{_PATH_CHARACTER}+$|^mailto:{_ATOM}@{_DOMAIN}$",
        "byte": r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
    }
)

# The same under other names.
_ALIASES = MappingProxyType(
    {
        "url": "uri",
        "iri": "uri",
        "uri-reference": "uri",
        "iri-reference": "uri",
        "idn-email": "email",
        "idn-hostname": "hostname",
        "guid": "uuid",
        "base64": "byte",
    }
)

# Patterns that other libraries write beside a format and that cannot be enforced for their look-arounds; what
# is written for the format matches them.
_IMPLIED = MappingProxyType(
    {
        "duration": (
            r"^P(?:(\d+W)|(?!.*W)(?=\d|T\d)(\d+Y)?(\d+M)?(\d+D)?"
            r"(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?)$",
        ),
        "email": (
            r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$",
        ),
        "hostname": (
            r"^(?=.{1,253}\.?$)[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
            r"(?:\.[a-zA-Z0-9](?:[-0-9a-zA-Z]{0,61}[0-9a-zA-Z])?)*\.?$",
        ),
    }
)

# These say how a value is treated, not which values there are.
REMARKS = frozenset({"password", "binary", "float", "double", "decimal", "text", "textarea", "markdown"})

INTEGER_BOUNDS = MappingProxyType(
    {
        "int8": (-(2**7), 2**7 - 1),
        "uint8": (0, 2**8 - 1),
        "int16": (-(2**15), 2**15 - 1),
        "uint16": (0, 2**16 - 1),
        "int32": (-(2**31), 2**31 - 1),
        "uint32": (0, 2**32 - 1),
        "int64": (-(2**63), 2**63 - 1),
        "uint64": (0, 2**64 - 1),
    }
)


def pattern_of(name: str) -> str | None:
    """The regular expression of a string format; None for one that cannot be enforced."""
    return PATTERNS.get(_ALIASES.get(name, name))


def is_implied(name: str, pattern: str) -> bool:
    """Whether all that is written for the format matches the pattern."""
    return pattern in _IMPLIED.get(name, ())
