#!/usr/bin/env bash
# A PostgreSQL for the tests: Debian's package, unless there is one. They start servers of their own; the package's
# cluster is not made. Fails with a sentence where it cannot be installed.
set -euo pipefail

is_there() { compgen -G "/usr/lib/postgresql/*/bin/postgres" >/dev/null; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
install_it() {
    local settings=/etc/postgresql-common/createcluster.conf
    as_root mkdir -p "${settings%/*}"
    [ -e "$settings" ] || echo "create_main_cluster = false" | as_root tee "$settings" >/dev/null
    # Another program, such as a machine's own updates, may be at it.
    as_root apt-get -o DPkg::Lock::Timeout=300 update -qq || return
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq \
        --no-install-recommends -o Dpkg::Options::=--force-confold postgresql
}

is_there || install_it || true
if ! is_there; then
    echo "PostgreSQL is missing and could not be installed: the store is tested on SQLite ALONE." >&2
    exit 1
fi
