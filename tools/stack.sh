#!/usr/bin/env bash
# Makes the secrets that docker-compose.yml names, where they are not there yet, and starts all parts as containers.
#
#   bash tools/stack.sh [--secrets-only]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A container's user differs from this one, and file secrets keep the owner and mode they have here. So the folder keeps others of
# this machine out, and the files are readable to whom they are handed.
mkdir -p -m 0700 secrets
chmod 0700 secrets
random() { head -c 32 /dev/urandom | od -An -vtx1 | tr -d ' \n'; }
keep() { # NAME TEXT: never overwrites, since the stores remember what they were set up with
    [[ -s secrets/$1 ]] && return
    printf '%s' "$2" >"secrets/.$1"
    chmod 0444 "secrets/.$1"
    mv "secrets/.$1" "secrets/$1"
}

for name in influxdb_admin_password influxdb_admin_token postgres_password records_password redis_password \
    grafana_admin_password grafana_records_password; do
    keep "$name" "$(random)"
done
keep database_url "postgresql+psycopg://scrapewatch:$(<secrets/records_password)@postgres:5432/scrapewatch"
keep redis_url "redis://:$(<secrets/redis_password)@redis:6379/0"
keep redis_conf "requirepass $(<secrets/redis_password)
save \"\"
appendonly no"

# Grafana makes this one, further down.
keep grafana_token ""

[[ ${1-} == --secrets-only ]] && exit

stop() { printf '%s\n' "$@" >&2; exit 1; }
command -v docker >/dev/null || stop "There is no docker here: install Docker Engine (https://docs.docker.com/engine/install/)," \
    "or run everything in one process without it: make up"
docker compose version >/dev/null 2>&1 || stop "docker has no compose plugin here: install it (Debian: apt-get install docker-compose-plugin)," \
    "or run everything in one process without it: make up"
docker info >/dev/null 2>&1 || stop "No docker engine answers: start it (systemctl start docker), or join the group docker," \
    "or run everything in one process without it: make up"

if ! [[ -s secrets/grafana_token ]]; then
    docker compose up --build --detach --wait grafana
    if token=$(docker compose run --rm --no-deps -T api grafana token --user admin <secrets/grafana_admin_password); then
        keep grafana_token "$token"
    else
        printf '%s\n' "Grafana made no token: its live panels stay empty until it does (run make stack again); all else works." >&2
    fi
fi
docker compose up --build --detach --wait
cat <<'END'
The live page and the API   http://127.0.0.1:8000/
Events go to                http://127.0.0.1:8001/api/v1/monitoring/metrics
Grafana                     http://127.0.0.1:3000/ (admin; the password is in secrets/grafana_admin_password)
Stop it with `docker compose down`; `docker compose down --volumes` deletes the data, too.
END
