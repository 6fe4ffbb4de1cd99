"""Real servers that start in a moment: a program that has imported everything forks one for each life.

Told on stdin, a line of JSON each, and answering each with a line: `start` with the number of an address and
the settings of a life, whose process id is the answer; `reap` with a process id, once that process was killed.
The addresses are this program's, so that whoever connects between two lives waits for the next one.
"""

import json
import os
import socket
import sys
from typing import Any

from llmatic.api.validation import Contract
from llmatic.app import contract_path, create_app
from llmatic.config import (
    AuthSettings,
    BatchSettings,
    LimitSettings,
    RecordingSettings,
    ServerSettings,
    Settings,
    StoreSettings,
)
from llmatic.core.errors import LlmaticError
from llmatic.core.limits import Limits
from llmatic.server import build_server, configure_logging, listen
from llmatic.services import key_memory
from llmatic.services.stored import open_stored
from tests.fakes import SPEC, FakePool

OPERATOR = "sk-the-operator-of-all-these-servers"


def main() -> None:
    listeners = [listen("127.0.0.1", 0) for _ in range(int(sys.argv[1]))]
    contract = Contract.load(contract_path())
    for operation in contract._operations.values():
        _ = operation.is_valid  # compiled here, once, instead of in each life
    Contract.load = classmethod(lambda *_, **__: contract)  # type: ignore[method-assign,assignment]
    answer([listener.getsockname()[1] for listener in listeners])
    for line in sys.stdin:
        wanted = json.loads(line)
        if "reap" in wanted:
            answer(os.waitpid(wanted["reap"], 0)[1])
            continue
        pid = os.fork()
        if pid == 0:
            live(listeners[wanted["start"]], wanted)
        answer(pid)


def live(listener: socket.socket, wanted: dict[str, Any]) -> None:
    """Never returns."""
    try:
        configure_logging(wanted.get("log_level", "error"))
        key_memory.REMEMBERED_S = wanted.get("remembered_s", key_memory.REMEMBERED_S)  # type: ignore[misc]
        settings = Settings(
            server=ServerSettings(port=0, api_keys=(OPERATOR,)),
            models={SPEC.id: SPEC},
            store=StoreSettings(folder=wanted["folder"], url=wanted["url"]),
            auth=AuthSettings(secret=wanted.get("secret")),
            batches=BatchSettings(lease_s=wanted.get("lease_s", 0.5)),
            limits=LimitSettings(keys=Limits(**wanted.get("limits", {}))),
            recording=RecordingSettings(enabled=wanted.get("records", False)),
        )
        stored = open_stored(settings.store, settings.auth)
        app = create_app(settings, pool=FakePool(), stored=stored)
        build_server(settings, app).run(sockets=[listener])
    except LlmaticError as error:
        print(f"llmatic: {error.message}", file=sys.stderr, flush=True)
        os._exit(2)
    finally:
        os._exit(1)


def answer(value: Any) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
