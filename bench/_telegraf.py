"""Telegraf as a path: events as JSON in, InfluxDB out, tuned to lose nothing that it acked as long as it lives."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from bench._running import ROOT, Served
from tests.influxd import Influxd
from tests.loopback import free_port

PATH: Final = "/events"

_BUILD: Final = ROOT / "tools" / "telegraf" / "build.sh"

# What differs from the defaults, and why: batches as large as InfluxDB recommends, a buffer that holds a whole measurement (with the
# default of 10,000 it drops what it acked), no gzip on loopback, and two writes at once.
_CONFIGURATION: Final = """
[agent]
  flush_interval = "1s"
  metric_batch_size = 5000
  metric_buffer_limit = 4000000
  omit_hostname = true
  quiet = true

[[inputs.http_listener_v2]]
  service_address = "tcp://127.0.0.1:{port}"
  paths = ["{path}"]
  methods = ["POST"]
  data_format = "json_v2"
  [[inputs.http_listener_v2.json_v2]]
    measurement_name = "events"
    [[inputs.http_listener_v2.json_v2.object]]
      path = "@this"
      disable_prepend_keys = true
      included_keys = ["session_id", "metric", "timestamp", "value", {included}]
      tags = ["session_id", "metric", "value_site"]
      timestamp_key = "timestamp"
      timestamp_format = "2006-01-02T15:04:05.000000Z07:00"

[[outputs.influxdb_v2]]
  urls = ["{url}"]
  token = "{token}"
  organization = "{org}"
  bucket = "{bucket}"
  content_encoding = "identity"
  concurrent_writes = 2
"""

_INCLUDED: Final = ("site", "duration", "status", "bytes", "count", "saved")


def find_telegraf() -> Path | None:
    """The Telegraf to measure: what TELEGRAF names, else what tools/telegraf/build.sh built, else the first on PATH, or None."""
    if named := os.environ.get("TELEGRAF"):
        return Path(shutil.which(named) or named)
    version = re.search(r"^version=(\S+)", _BUILD.read_text(encoding="utf-8"), re.MULTILINE)
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    built = Path(caches) / "scrapewatch" / f"telegraf-{version[1] if version else ''}" / "telegraf"
    if os.access(built, os.X_OK):
        return built
    on_path = shutil.which("telegraf")
    return Path(on_path) if on_path else None


def telegraf_version(binary: Path) -> str:
    """What ``binary`` says of itself, such as 1.37.2."""
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    return said.split()[1] if said else ""


def serve_telegraf(folder: Path, server: Influxd, *, bucket: str) -> Served:
    """Telegraf, writing to ``bucket`` of ``server``.

    Raises:
        FileNotFoundError: there is none.
    """
    binary = find_telegraf()
    if binary is None:
        raise FileNotFoundError("no Telegraf: run `bash tools/telegraf/build.sh`, or set TELEGRAF")
    port = free_port()
    file = folder / "telegraf.conf"
    text = _CONFIGURATION.format(
        port=port,
        path=PATH,
        url=server.url,
        token=server.token,
        org=server.org,
        bucket=bucket,
        included=", ".join(f'"value_{name}"' for name in _INCLUDED),
    )
    file.write_text(text, encoding="utf-8")
    return Served([str(binary), "--config", str(file)], folder, port=port, probe="/")
