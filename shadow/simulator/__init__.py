"""A faithful stand-in for EzAI, for `demo` and for tests: it needs no key and no network and costs nothing."""

from shadow.simulator.app import build_app
from shadow.simulator.log import LogEntry, RequestLog
from shadow.simulator.script import FaultRate, Quality, Script, SimModel, Timing
from shadow.simulator.server import Simulator, run

__all__ = [
    "FaultRate",
    "LogEntry",
    "Quality",
    "RequestLog",
    "Script",
    "SimModel",
    "Simulator",
    "Timing",
    "build_app",
    "run",
]
