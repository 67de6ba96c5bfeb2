"""Simulated peers of the bridge on real sockets: Revicom Direct, Smartico, and the operator's own platform.

They import nothing from the rest of the bridge. What they accept and answer follows the peers' documentation,
and each module says what it had to invent; so a bridge that is wrong about a peer fails here first. `judge`
compares what the provider saw with what Smartico learned.
"""

from bridge.sim.platform import PlatformConfig, PlatformFaults, PlatformSimulator
from bridge.sim.revicom import RevicomSimulator
from bridge.sim.revicom_config import RevicomConfig, RevicomFaults
from bridge.sim.smartico import SmarticoSimulator
from bridge.sim.smartico_config import Gateway, SmarticoConfig, SmarticoFaults
from bridge.sim.smartico_traffic import Answer
from bridge.sim.verdict import Finding, Reported, Sent, Verdict, judge

__all__ = [
    "Answer",
    "Finding",
    "Gateway",
    "PlatformConfig",
    "PlatformFaults",
    "PlatformSimulator",
    "Reported",
    "RevicomConfig",
    "RevicomFaults",
    "RevicomSimulator",
    "Sent",
    "SmarticoConfig",
    "SmarticoFaults",
    "SmarticoSimulator",
    "Verdict",
    "judge",
]
