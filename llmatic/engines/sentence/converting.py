"""Converting a model in a process of its own: `python -m llmatic.engines.sentence.converting`.

Owns that process, which leaves the worker without torch and transformers: some 450 MB less. It reads the
model's entry (a pickled ModelSpec) from its standard input and writes to the cache; what stands in the way it
says on its standard output. Never decides what to do about that.
"""

import pickle
import subprocess
import sys

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError
from llmatic.engines.sentence.computing import Unconvertible

EXIT_UNCONVERTIBLE = 3
EXIT_REFUSED = 4


def convert_apart(spec: ModelSpec) -> None:
    """Let another process put the converted model into the cache. Blocks for seconds.

    Raises Unconvertible, ConfigError. If that process ends in any other way nothing is raised, and nothing
    may be in the cache: converting in this process will tell why.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__],
        input=pickle.dumps(spec),
        stdout=subprocess.PIPE,
        check=False,
    )
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    said = lines[-1] if lines else ""  # libraries may have written before it
    if done.returncode == EXIT_UNCONVERTIBLE:
        raise Unconvertible(said)
    if done.returncode == EXIT_REFUSED:
        raise ConfigError(said)


def main() -> int:
    """The other process."""
    from llmatic.engines.sentence.loading import convert_here

    try:
        convert_here(pickle.load(sys.stdin.buffer))
    except Unconvertible as error:
        print(error)
        return EXIT_UNCONVERTIBLE
    except ConfigError as error:
        print(error.message)
        return EXIT_REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
