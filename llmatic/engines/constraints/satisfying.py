"""Which plain forms (`schemas`) a finite JSON value can satisfy. Pure; any thread."""

from typing import Any

Form = dict[str, Any]

_PREFIX = "#/$defs/"


class TooTangled(Exception):
    """The forms refer to each other in too many ways to be looked through."""


def satisfiable(forms: dict[str, Form]) -> dict[str, Form]:
    """The forms that some finite value satisfies, without the choices that none does.

    A form is kept once everything that it needs is; so what needs itself without end never is. Keys are
    those that `$ref`s name. Raises TooTangled.
    """
    possible = _Possible()
    order = list(forms)
    while True:
        # Turn and turn about, so that plain chains of references take two rounds, whichever way they run.
        order.reverse()
        found = [key for key in order if possible.takes(key, forms[key])]
        if not found:
            break
        order = [key for key in order if key not in possible.keys]
    kept = {key: _pruned(form, possible) for key, form in forms.items() if key in possible.keys}
    return {key: form for key, form in kept.items() if form is not None}


class _Possible:
    """The definitions known to be satisfiable; counts the looks, of which there may be so many."""

    MAX_LOOKS = 400_000

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self._n_looks = 0

    def takes(self, key: str, form: Form) -> bool:
        """Note the definition if its form can be."""
        if key in self.keys or not _can_be(form, self):
            return False
        self.keys.add(key)
        return True

    def has(self, reference: str) -> bool:
        return reference.removeprefix(_PREFIX) in self.keys

    def look(self) -> None:
        self._n_looks += 1
        if self._n_looks > self.MAX_LOOKS:
            raise TooTangled


def _can_be(form: Form, possible: _Possible) -> bool:
    possible.look()
    if "$ref" in form:
        return possible.has(form["$ref"])
    if "enum" in form:
        return bool(form["enum"])
    if "anyOf" in form:
        return any(_can_be(option, possible) for option in form["anyOf"])
    if form.get("type") == "array":
        return _can_be_array(form, possible)
    if form.get("type") == "object":
        return _can_be_object(form, possible)
    return True


def _can_be_array(form: Form, possible: _Possible) -> bool:
    least = form.get("minItems", 0)
    prefix = form.get("prefixItems", [])
    if least > form.get("maxItems", least):
        return False
    if least > len(prefix) and not _can_be(form.get("items", {}), possible):
        return False
    return all(_can_be(item, possible) for item in prefix[:least])


def _can_be_object(form: Form, possible: _Possible) -> bool:
    if form.get("minProperties", 0) > form.get("maxProperties", form.get("minProperties", 0)):
        return False
    properties = form["properties"]
    if form.get("minProperties", 0) > 0 and not properties:
        return _can_be(form.get("additionalProperties", {"enum": []}), possible)
    return all(_can_be(properties[name], possible) for name in form["required"])


def _pruned(form: Form, possible: _Possible) -> Form | None:
    """The form without what cannot be; None if it cannot be itself."""
    if not _can_be(form, possible):
        return None
    if "anyOf" in form:
        options = [pruned for option in form["anyOf"] if (pruned := _pruned(option, possible)) is not None]
        return options[0] if len(options) == 1 else form | {"anyOf": options}
    if form.get("type") == "array":
        return _pruned_array(form, possible)
    if form.get("type") == "object":
        return _pruned_object(form, possible)
    return form


def _pruned_array(form: Form, possible: _Possible) -> Form:
    result = dict(form)
    prefix: list[Form] = []
    for item in form.get("prefixItems", []):
        pruned = _pruned(item, possible)
        if pruned is None:
            # Nothing can stand here, so nothing can follow either.
            return result | {"prefixItems": prefix, "maxItems": len(prefix)}
        prefix.append(pruned)
    result["prefixItems"] = prefix
    items = _pruned(form.get("items", {}), possible)
    if items is None:
        result["maxItems"] = min(len(prefix), form.get("maxItems", len(prefix)))
    else:
        result["items"] = items
    return result


def _pruned_object(form: Form, possible: _Possible) -> Form:
    result = dict(form)
    pruned = {name: _pruned(part, possible) for name, part in form["properties"].items()}
    result["properties"] = {name: part for name, part in pruned.items() if part is not None}
    result["absent"] = [name for name, part in pruned.items() if part is None]
    for keyword in ("additionalProperties", "propertyNames"):
        if keyword in form:
            part = _pruned(form[keyword], possible)
            if part is None:
                result.pop("additionalProperties", None)
                result.pop("propertyNames", None)
                break
            result[keyword] = part
    return result
