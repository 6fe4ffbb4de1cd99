"""Moderation by a real classifier in a real worker process."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llmatic.config import MediaSettings, ModelSpec, ModerationSpec, WorkerSettings
from llmatic.core.errors import Unavailable
from llmatic.services.media import MediaLoader
from llmatic.services.moderation import Judgement, Moderation
from llmatic.services.terms import Caller
from llmatic.workers.pool import ProcessPool
from tests.engines.sentence.models import make_classifier

pytestmark = pytest.mark.anyio

PHRASES = {
    "threat": [
        "I will kill you",
        "I am going to hurt him badly",
        "you will die tonight",
        "we will beat them to death",
    ],
    "insult": [
        "you are a stupid idiot",
        "what a worthless fool you are",
        "shut up, you moron",
        "you ugly loser",
    ],
    "neutral": [
        "the train leaves at nine",
        "please pass the salt",
        "we baked bread this morning",
        "the moon circles the earth",
        "what time is the meeting",
        "I like your garden",
    ],
}
MODERATION = ModerationSpec(
    categories={"threat": ("harassment/threatening", "violence"), "insult": ("harassment",), "neutral": ()}
)


@pytest.fixture(scope="module")
def folder(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_classifier(tmp_path_factory.mktemp("moderator"), PHRASES)


@pytest.fixture
async def pool(folder: Path) -> AsyncIterator[ProcessPool]:
    options = {"backend": "torch"}
    spec = ModelSpec("moderator", str(folder), engine="sentence", threads=1, options=options)
    pool = ProcessPool({spec.id: spec}, WorkerSettings(load_timeout_s=120))
    await pool.start()
    yield pool
    await pool.close()


async def judge(
    pool: ProcessPool, *texts: str, moderation: ModerationSpec = MODERATION
) -> tuple[Judgement, ...]:
    spec = ModelSpec("moderator", "", moderation=moderation)
    loader = MediaLoader(MediaSettings())
    return (await Moderation(pool, loader, spec, Caller(), "modr-x").judge(texts)).results


async def test_sensible_scores(pool: ProcessPool) -> None:
    fine, threat, insult, long_fine, long_threat = await judge(
        pool,
        "the bus leaves at ten",
        "I will hurt you and then kill you",
        "you are such a stupid moron",
        "we baked bread, and the train leaves at nine. " * 100,
        "we baked bread, and the train leaves at nine. " * 100
        + "I will kill you. You will die tonight. " * 60,
    )
    assert not fine.flagged
    assert threat.flagged == {"harassment/threatening", "violence"}
    assert insult.flagged == {"harassment"}
    assert not long_fine.flagged, "a thousand tokens, where the model reads five hundred at once"
    assert long_threat.flagged == {"harassment/threatening", "violence"}
    assert threat.scores["violence"] > 0.9
    assert fine.scores["violence"] < 0.2
    assert all(0 <= score <= 1 for one in (fine, threat, insult) for score in one.scores.values())

    wrong = ModerationSpec(categories={"threats": ("violence",)})
    with pytest.raises(Unavailable, match="has no label 'threats'; did you mean 'threat'"):
        await judge(pool, "x", moderation=wrong)
