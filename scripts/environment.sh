# Sourced by serve, test and check: makes .venv, installs what is asked for, does nothing the second time.
# Afterwards $root is the checkout and $venv its virtual environment. LLMATIC_EXTRAS names what serve installs
# beside the server: "embeddings" if it is not set, nothing if it is empty.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
fail() { printf '\033[31mllmatic:\033[0m %s\n' "$*" >&2; exit 1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 python; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed. Install it (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python) or set PYTHON to one."
}

make_venv() {  # make_venv DIR
    [ -x "$1/bin/python" ] && "$1/bin/python" -c 'import pip' >/dev/null 2>&1 && return
    local python
    python="$(find_python)" || exit 1
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
        fail "this Python cannot make virtual environments. Install its venv module (Debian, Ubuntu: apt install python3-venv)."
    say "Making a virtual environment in ${1#"$root"/} with $("$python" --version)"
    rm -rf "$1"
    "$python" -m venv "$1" || fail "could not make $1; is the disk full, or the checkout not writable?"
}

need_compiler() {
    "$venv/bin/python" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("llama_cpp") is None)' && return
    command -v "${CXX:-c++}" >/dev/null 2>&1 || command -v g++ >/dev/null 2>&1 || command -v clang++ >/dev/null 2>&1 ||
        fail "a C/C++ compiler is needed to build llama.cpp. Install one (Debian, Ubuntu: apt install build-essential; macOS: xcode-select --install)."
    say "llama.cpp is compiled for this machine the first time: about 5 minutes on 2 cores, once."
}

install() {  # install STAMP REQUIREMENT...   (constraints: requirements.lock; CMAKE_ARGS reaches llama.cpp's build)
    local stamp="$venv/.llmatic-$1" wanted
    shift
    wanted="$(cat "$root/pyproject.toml" "$root/requirements.lock" | cksum) $* ${CMAKE_ARGS:-}"
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
    need_compiler
    say "Installing llmatic and what it needs"
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --verbose \
        --constraint "$root/requirements.lock" "$@" 2>&1 |
        "$venv/bin/python" "$root/scripts/install_progress.py" "$venv/install.log" ||
        fail "the installation failed; the end of its log stands above, all of it in $venv/install.log"
    printf '%s' "$wanted" >"$stamp"
}
