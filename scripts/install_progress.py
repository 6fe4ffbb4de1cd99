"""Reads `pip install --verbose` on standard input, keeps it in a log file, shows where it stands.

On a terminal one line is rewritten; elsewhere a line is printed every tenth of a build. Exits 1 with the
end of the log if pip says that it failed. Standard library only: it runs before anything is installed.
"""

import re
import sys
import time
from collections import deque

STEP = re.compile(r"\[(\d+)/(\d+)\]")
NEWS = re.compile(
    r"\s*(Collecting|Building wheel for|Installing collected packages|Successfully installed)\b"
)
FAILURE = re.compile(r"\s*(ERROR|error):")


def bar(done: int, total: int, width: int = 30) -> str:
    filled = width * done // max(total, 1)
    return f"[{'#' * filled}{'.' * (width - filled)}] {done}/{total}"


def main(log_path: str) -> int:
    terminal = sys.stderr.isatty()
    tail: deque[str] = deque(maxlen=40)
    failed, finished, shown_tenth, began = False, False, 0, time.monotonic()
    with open(log_path, "w", encoding="utf-8") as log:
        for line in sys.stdin:
            log.write(line)
            tail.append(line.rstrip())
            if FAILURE.match(line):
                failed, finished = True, False  # what was finished before was pip's own build environment
            finished |= "Successfully installed" in line
            text = ""
            if step := STEP.search(line):
                done, total = int(step[1]), int(step[2])
                tenth = 10 * done // max(total, 1)
                if terminal or tenth > shown_tenth:
                    text = f"compiling {bar(done, total)} {time.monotonic() - began:.0f} s"
                shown_tenth = tenth
            elif terminal and NEWS.match(line):
                text = line.strip()[:100]
            if text:
                before, after = ("\r\033[K", "") if terminal else ("", "\n")
                print(f"{before}    {text}", end=after, file=sys.stderr, flush=True)
    if terminal:
        print("\r\033[K", end="", file=sys.stderr)
    if failed and not finished:
        print("\n".join(tail), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
