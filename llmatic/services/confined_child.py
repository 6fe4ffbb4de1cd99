"""The process that follows what callers wrote: templates that are filled in, schemas that are checked.

Owns its limits: of processor time for each job, of memory for the process. Whatever a template or a schema
does, it is this process that hangs, grows or dies, not the server. Reads jobs from its standard input and
writes what came of them to its standard output, each as JSON behind its length; ends with its input, or when
it has had nothing to do for a while. Never imported by the server.
"""

import contextlib
import math
import os
import resource
import select
import signal
import struct
import sys
from types import FrameType
from typing import Any, BinaryIO, Final, NoReturn

import orjson

from llmatic.core.errors import InvalidRequest
from llmatic.services.json_schemas import check_data, compiled_schema, misfit
from llmatic.services.prompt_template import check_prompts, render_prompts

JOB_S: Final = 1.0
HARD_JOB_S: Final = 2
MAX_MEMORY_BYTES: Final = 512 * 1024 * 1024
IDLE_S: Final = 300.0
LENGTH: Final = struct.Struct(">Q")

Job = dict[str, Any]


class TimeUp(BaseException):
    """The job has used up its time. No `Exception`, so that nothing on the way takes it for its own."""


def main() -> None:
    """Do jobs until there are no more."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with the server
    signal.signal(signal.SIGPROF, _time_up)
    jobs, results = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    while (job := _next_job(jobs)) is not None:
        answer = _answered(job)
        raw = orjson.dumps(answer)
        results.write(LENGTH.pack(len(raw)) + raw)
        results.flush()
        if "exceeded" in answer:
            return  # whoever comes next shall find memory that is not in pieces


def _next_job(jobs: BinaryIO) -> Job | None:
    if not select.select([jobs], [], [], IDLE_S)[0]:
        return None
    head = jobs.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    raw = jobs.read(LENGTH.unpack(head)[0])
    job: Job = orjson.loads(raw)
    return job


def _answered(job: Job) -> Job:
    """`result`, or `refused`: why this is the caller's mistake."""
    try:
        with _limited():
            return {"result": _done(job)}
    except InvalidRequest as error:
        return {"refused": {"message": error.message, "param": error.param, "code": error.code}}
    except TimeUp:
        return {"exceeded": "time"}
    except MemoryError:
        return {"exceeded": "memory"}


def _done(job: Job) -> Any:
    for name, schema in (job.get("schemas") or {}).items():
        compiled_schema(schema, name)
    match job["work"]:
        case "check":
            return check_prompts(job["prompts"])
        case "render":
            if job.get("data_schema") is not None:
                check_data(job["data_schema"], job["data"])
            return render_prompts(job["prompts"], job["data"])
        case "fit":
            return misfit(job["schema"], job["text"])
    raise AssertionError("there is no other work")


@contextlib.contextmanager
def _limited() -> Any:
    """Within it, time that is up is raised; where nothing can be raised, the kernel ends the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    end_s = math.ceil(used.ru_utime + used.ru_stime) + HARD_JOB_S
    resource.setrlimit(resource.RLIMIT_CPU, (end_s, resource.RLIM_INFINITY))
    # Again and again, for what is raised in a finaliser is lost.
    signal.setitimer(signal.ITIMER_PROF, JOB_S, JOB_S / 10)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _time_up(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise TimeUp


if __name__ == "__main__":
    main()
    sys.exit(0)
