"""The route of the machine's resources."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from api.resources.machine import MachineReader, MachineReading, top_processes
from api.services import ApiServices
from scrapewatch.http import problem_responses
from scrapewatch.problems import ScrapewatchError
from scrapewatch.time import to_datetime


def _number(unit: str, description: str) -> float:
    found: float = Field(description=description, json_schema_extra={"unit": unit})
    return found


def _size(description: str) -> int:
    found: int = Field(description=description, json_schema_extra={"unit": "By"})
    return found


class _Shown(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ProcessorUse(_Shown):
    """Use of the processors over the last seconds."""

    percent: float = _number("percent", "Use of all cores, 0–100.")
    cores: list[float] = Field(description="Use of each core, 0–100.", json_schema_extra={"unit": "percent"})
    user: float = _number("percent", "Of all time, spent by programs.")
    system: float = _number("percent", "Of all time, spent by the system.")
    waiting: float = _number("percent", "Of all time, spent waiting for disks.")


class LoadAverages(BaseModel):
    """Processes that ran or wanted to, on average."""

    load_1: float = _number("1", "Over one minute.")
    load_5: float = _number("1", "Over five minutes.")
    load_15: float = _number("1", "Over fifteen minutes.")


class MemoryUse(BaseModel):
    """Memory or swap space."""

    total: int = _size("All there is, bytes.")
    used: int = _size("What is used and cannot be had, bytes.")
    available: int = _size("What can be had, bytes.")
    percent: float = _number("percent", "Use, 0–100.")


class PartitionUse(_Shown):
    """A mounted file system."""

    mount: str = Field(description="Where it is mounted.")
    device: str = Field(description="What is mounted.")
    kind: str = Field(description="Kind of file system.")
    total: int = _size("Size, bytes.")
    used: int = _size("Space used, bytes.")
    free: int = _size("Space that can be had, bytes.")
    percent: float = _number("percent", "Use, 0–100.")


class InterfaceUse(_Shown):
    """A network interface."""

    name: str = Field(description="Its name.")
    up: bool | None = Field(description="Whether it is up.")
    sent: int = _size("Sent since the machine started, bytes.")
    received: int = _size("Received since the machine started, bytes.")
    sent_per_second: float = _number("By/s", "Sent over the last seconds, bytes per second.")
    received_per_second: float = _number("By/s", "Received over the last seconds, bytes per second.")
    errors: int = Field(description="Errors since the machine started.")


class DiskUse(_Shown):
    """What a disk, or all together, did over the last seconds."""

    name: str = Field(description="Its name; empty for all together.")
    read_per_second: float = _number("By/s", "Read, bytes per second.")
    written_per_second: float = _number("By/s", "Written, bytes per second.")
    reads_per_second: float = _number("1/s", "Reads per second.")
    writes_per_second: float = _number("1/s", "Writes per second.")


class NetworkUse(BaseModel):
    """What all interfaces but the loopback carried over the last seconds."""

    sent_per_second: float = _number("By/s", "Sent, bytes per second.")
    received_per_second: float = _number("By/s", "Received, bytes per second.")


class ProcessShown(BaseModel):
    """A process among those that use most."""

    pid: int = Field(description="Its number.")
    name: str = Field(description="Its name.")
    cpu_percent: float = _number("percent", "Use of one core, percent; of several it is more than 100.")
    memory: int = _size("Resident memory, bytes.")
    threads: int | None = Field(description="Threads, where they may be counted.")
    started_at: datetime = Field(description="When it started.")


class Utilization(BaseModel):
    """The machine's resources."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "host": "monitor-1",
                "taken_at": "2026-01-05T10:02:00Z",
                "booted_at": "2026-01-01T06:00:00Z",
                "cpu": {
                    "percent": 37.5,
                    "cores": [40.0, 35.0],
                    "user": 30.1,
                    "system": 7.4,
                    "waiting": 0.5,
                },
                "load": {"load_1": 0.8, "load_5": 0.7, "load_15": 0.6},
                "memory": {
                    "total": 8000000000,
                    "used": 5000000000,
                    "available": 3000000000,
                    "percent": 62.5,
                },
                "swap": {"total": 2000000000, "used": 30000000, "available": 1970000000, "percent": 1.5},
                "partitions": [
                    {
                        "mount": "/data",
                        "device": "/dev/sdb1",
                        "kind": "ext4",
                        "total": 100000000000,
                        "used": 81000000000,
                        "free": 19000000000,
                        "percent": 81.0,
                    }
                ],
                "interfaces": [
                    {
                        "name": "eth0",
                        "up": True,
                        "sent": 1200000000,
                        "received": 9800000000,
                        "sent_per_second": 12000.0,
                        "received_per_second": 240000.0,
                        "errors": 0,
                    }
                ],
                "network_io": {"sent_per_second": 12000.0, "received_per_second": 240000.0},
                "disk_io": {
                    "name": "",
                    "read_per_second": 0.0,
                    "written_per_second": 81920.0,
                    "reads_per_second": 0.0,
                    "writes_per_second": 9.5,
                },
                "disks": None,
                "processes": None,
                "degraded": [],
            }
        }
    )

    host: str = Field(description="Name of the machine that the API runs on.")
    taken_at: datetime = Field(description="When it was read.")
    booted_at: datetime = Field(description="When the machine started.")
    cpu: ProcessorUse = Field(description="The processors.")
    load: LoadAverages | None = Field(description="Load averages; null where the system has none.")
    memory: MemoryUse = Field(description="Memory.")
    swap: MemoryUse = Field(description="Swap space.")
    partitions: list[PartitionUse] = Field(description="Every file system that holds data.")
    interfaces: list[InterfaceUse] = Field(description="Every network interface.")
    network_io: NetworkUse = Field(description="All interfaces but the loopback together.")
    disk_io: DiskUse | None = Field(description="All disks together; null where the system does not count.")
    disks: list[DiskUse] | None = Field(description="Each disk; with `detailed` only.")
    processes: list[ProcessShown] | None = Field(
        description="Those that use most of the processors or of memory; with `detailed` only."
    )
    degraded: list[str] = Field([], description="What could not be read now.")


async def read_machine(services: ApiServices) -> tuple[MachineReading, list[str]]:
    """The machine as read lately, and what could not be read anew: a file system may hang.

    Raises:
        StoreUnavailable: it could not be read yet.
    """
    reader: MachineReader = services.machine
    try:
        return await services.patience["machine"].call(reader.read, older=10.0), []
    except ScrapewatchError:
        if reader.latest is None:
            raise
        return reader.latest, ["machine"]


def build_router(services: ApiServices) -> APIRouter:
    """The routes below ``/monitoring/resources``."""
    router = APIRouter(
        prefix="/monitoring/resources", tags=["resources"], route_class=services.telemetry.route_class()
    )

    @router.get(
        "/utilization",
        summary="What the machine is used for",
        response_model=Utilization,
        responses=problem_responses(422, 503),
    )
    async def utilization(
        detailed: Annotated[
            bool, Query(description="Each disk and the processes that use most, too; takes a quarter second.")
        ] = False,
    ) -> Utilization:
        """The machine that the API runs on: rates and usages are those of the last seconds."""
        reading, degraded = await read_machine(services)
        processes = None
        if detailed:
            try:
                found = await services.patience["machine"].call(top_processes)
                processes = [
                    ProcessShown(
                        pid=each.pid,
                        name=each.name,
                        cpu_percent=round(each.cpu_percent, 1),
                        memory=each.memory,
                        threads=each.threads,
                        started_at=to_datetime(each.started_at),
                    )
                    for each in found
                ]
            except ScrapewatchError:
                degraded = [*degraded, "processes"]
        return Utilization(
            host=reading.host,
            taken_at=to_datetime(reading.at),
            booted_at=to_datetime(reading.booted_at),
            cpu=ProcessorUse.model_validate(reading.processors),
            load=None
            if reading.load is None
            else LoadAverages(load_1=reading.load[0], load_5=reading.load[1], load_15=reading.load[2]),
            memory=MemoryUse(
                total=reading.memory_total,
                used=reading.memory_total - reading.memory_available,
                available=reading.memory_available,
                percent=reading.memory_percent,
            ),
            swap=MemoryUse(
                total=reading.swap_total,
                used=reading.swap_used,
                available=reading.swap_total - reading.swap_used,
                percent=reading.swap_percent,
            ),
            partitions=[PartitionUse.model_validate(each) for each in reading.partitions],
            interfaces=[InterfaceUse.model_validate(each) for each in reading.interfaces],
            network_io=NetworkUse(
                sent_per_second=reading.sent_per_second, received_per_second=reading.received_per_second
            ),
            disk_io=None if reading.disk is None else DiskUse.model_validate(reading.disk),
            disks=[DiskUse.model_validate(each) for each in reading.disks] if detailed else None,
            processes=processes,
            degraded=degraded,
        )

    return router
