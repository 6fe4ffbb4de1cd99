"""How likely a guard's verdicts are, read from the probabilities of the tokens of one that it wrote.

Owns the arithmetic. Pure: tokens in, probabilities out; any thread.

An answer is one path through the model's tokens, and each token on it comes with the likeliest tokens that
could have stood in its place. Where a word is expected, the tokens that begin one of the words that may come
share the probability of 1 among them; the path is followed until only words of one meaning are left. What
leaves the path counts for the words that it leads to: those for which no longer listed token stands beside
it (beside "10", "1" means S1 and not S10; where there is no "10", both). Words that are not told apart by
what is listed each get the whole probability of their common beginning. A meaning without any listed token
gets what it can have at most, the probability of the least likely that is listed or of the one that was
taken: a model that says nothing of the form is undecided, not sure.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp

from llmatic.core.types import TokenLogprob

Words = Mapping[bytes, str]  # how something may be written → what it means

_SPACE = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Form:
    """What a verdict looks like, in bytes: `before`, a word, and after an unsafe one `between` and a list."""

    safe: tuple[bytes, ...]
    unsafe: tuple[bytes, ...]
    before: bytes = b""
    between: bytes = b"\n"
    separator: bytes = b","


def unsafe_probability(tokens: Sequence[TokenLogprob], form: Form) -> float | None:
    """How likely the verdict is unsafe rather than safe; None if `tokens` are no answer of the form.

    White space before the answer is taken as given, and may stand before any other verdict too.
    """
    path = _path(tokens)
    start = _after_head(path, form)
    if start is None or start == len(path):
        return None
    words = {**dict.fromkeys(form.safe, "safe"), **dict.fromkeys(form.unsafe, "unsafe")}
    masses = word_probabilities(tokens, start, words, skips_space=not form.before)
    total = sum(masses.values())
    return masses.get("unsafe", 0.0) / total if total > 0.0 else None


def label_probabilities(
    tokens: Sequence[TokenLogprob], form: Form, labels: Collection[bytes]
) -> dict[bytes, float]:
    """For each label how likely an unsafe verdict lists it. `tokens`: an unsafe answer of the form.

    Counted are the lists that agree with the answer up to the label: the first label is chosen among all;
    the second after the first of the answer, if a separator follows; and so on. What the model would list
    after another first label than that of the answer is not known.
    """
    path = _path(tokens)
    found = dict.fromkeys(labels, 0.0)
    at = _after_unsafe(path, form)
    words = {label: label.decode() for label in labels}
    names = {name: label for label, name in words.items()}
    reach, listed = 1.0, set[bytes]()
    while at is not None and at < len(path) and reach > 0.0:
        masses = word_probabilities(tokens, at, words)
        for name, mass in masses.items():
            if names[name] not in listed:
                found[names[name]] += reach * mass
        written = _word_at(path, at, labels)
        if written is None:
            break
        listed.add(written)
        end = at + len(written)
        reach *= masses.get(words[written], 0.0) * _beginning(tokens, end, form.separator)
        at = end + len(form.separator) if path.startswith(form.separator, end) else None
    return {label: min(1.0, mass) for label, mass in found.items()}


def word_probabilities(
    tokens: Sequence[TokenLogprob], start: int, words: Words, *, skips_space: bool = False
) -> dict[str, float]:
    """Meaning → probability that it is written at byte `start` of the answer; meanings without any left out.

    `skips_space`: white space before a word changes nothing.
    """
    masses: dict[str, float] = {}
    place, offset = _place(tokens, start)
    written, remaining, live = b"", 1.0, tuple(words)
    while True:
        meanings = {words[word] for word in live}
        if len(meanings) == 1 or place == len(tokens):
            whole = (written,) if written in live and len(meanings) > 1 else live
            _add(masses, {words[word] for word in whole}, remaining)
            return masses
        token, lead = tokens[place], max(0, start - offset)
        taken = token.data[lead:]
        rests = _rests(token, token.data[:lead], skips_space=skips_space and not written)
        leads = {rest: _meant(written + rest, live) for rest in rests}
        fitting = {rest: probability for rest, probability in rests.items() if leads[rest]}
        total = sum(fitting.values())
        if written in live:  # what goes on with none of the words ends this one
            _add(masses, {words[written]}, remaining * max(0.0, 1.0 - total))
            total = 1.0
        elif taken in fitting:
            unlisted = meanings - {words[word] for rest in fitting for word in leads[rest]}
            most = min(fitting[taken], *rests.values())
            total += most * len(unlisted)
            _add(masses, unlisted, remaining * most / (total or 1.0))
        for rest, probability in fitting.items():
            if rest != taken:
                own = {words[word] for word in _own(rest, leads)}
                _add(masses, own, remaining * probability / max(total, probability))
        if not fitting.get(taken):
            return masses
        remaining *= fitting[taken] / total
        written, live = written + taken, leads[taken]
        offset += len(token.data)
        place += 1


def _meant(text: bytes, live: Iterable[bytes]) -> tuple[bytes, ...]:
    """The words that begin like `text`; without any, the longest that stands at its beginning."""
    if not text:
        return ()
    begun = tuple(word for word in live if word.startswith(text))
    if begun:
        return begun
    whole = [word for word in live if _starts_with_word(text, word)]
    return (max(whole, key=len),) if whole else ()


def _own(rest: bytes, leads: Mapping[bytes, Sequence[bytes]]) -> Collection[bytes]:
    """The words that `rest` leads to and no longer token does; all of them if every one has its own."""
    longer = {word for other in leads if other != rest and other.startswith(rest) for word in leads[other]}
    return [word for word in leads[rest] if word not in longer] or leads[rest]


def _rests(token: TokenLogprob, lead: bytes, *, skips_space: bool = False) -> dict[bytes, float]:
    """What may stand after `lead` in the place of `token` → its probability."""
    found: dict[bytes, float] = {}
    seen = set[int]()
    for token_id, data, logprob in (
        (token.token_id, token.data, token.logprob),
        *((top.token_id, top.data, top.logprob) for top in token.top),
    ):
        if token_id in seen or logprob is None:
            continue
        seen.add(token_id)
        if skips_space or data.startswith(lead):
            rest = data.lstrip(_SPACE) if skips_space else data[len(lead) :]
            found[rest] = found.get(rest, 0.0) + exp(logprob)
    return found


def _add(masses: dict[str, float], meanings: Iterable[str], mass: float) -> None:
    for meaning in meanings:
        masses[meaning] = masses.get(meaning, 0.0) + mass


def _path(tokens: Sequence[TokenLogprob]) -> bytes:
    return b"".join(token.data for token in tokens)


def _place(tokens: Sequence[TokenLogprob], start: int) -> tuple[int, int]:
    """The number of the token that holds byte `start`, and the byte at which it begins."""
    offset = 0
    for place, token in enumerate(tokens):
        if offset + len(token.data) > start:
            return place, offset
        offset += len(token.data)
    return len(tokens), offset


def _after_head(path: bytes, form: Form) -> int | None:
    """Where the verdict's word begins; None if the path has another beginning."""
    at = len(path) - len(path.lstrip(_SPACE))
    return at + len(form.before) if path.startswith(form.before, at) else None


def _after_unsafe(path: bytes, form: Form) -> int | None:
    """Where the list of labels begins; None if the path holds none."""
    at = _after_head(path, form)
    word = None if at is None else _word_at(path, at, form.unsafe)
    if at is None or word is None:
        return None
    end = at + len(word)
    return end + len(form.between) if path.startswith(form.between, end) else None


def _word_at(path: bytes, at: int, words: Iterable[bytes]) -> bytes | None:
    """The longest word that stands there."""
    rest = path[at:]
    return max((word for word in words if _starts_with_word(rest, word)), key=len, default=None)


def _starts_with_word(text: bytes, word: bytes) -> bool:
    following = text[len(word) : len(word) + 1]
    return text.startswith(word) and not (following.isalnum() and word[-1:].isalnum())


def _beginning(tokens: Sequence[TokenLogprob], at: int, text: bytes) -> float:
    """The probability that `text` begins at byte `at`; 1 where the token there began before."""
    place, offset = _place(tokens, at)
    if place == len(tokens):
        return 0.0
    if offset != at:
        return 1.0
    rests = _rests(tokens[place], b"")
    return sum(p for rest, p in rests.items() if rest and (rest.startswith(text) or text.startswith(rest)))
