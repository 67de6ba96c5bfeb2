"""Simulated peers of the bridge on real sockets: Revicom Direct, SendGrid, an SMTP server, Smartico, and the
operator's own platform.

They import nothing from the rest of the bridge. What they accept and answer follows the peers' documentation,
and each module says what it had to invent; so a bridge that is wrong about a peer fails here first. `judge`
compares what the providers saw with what Smartico learned.
"""

from bridge.sim.platform import PlatformSimulator
from bridge.sim.platform_config import PlatformConfig, PlatformFaults
from bridge.sim.ports import free_port
from bridge.sim.revicom import RevicomSimulator
from bridge.sim.revicom_config import RevicomConfig, RevicomFaults
from bridge.sim.sendgrid import SendgridSimulator
from bridge.sim.sendgrid_config import SendgridConfig, SendgridFaults
from bridge.sim.smartico import SmarticoSimulator
from bridge.sim.smartico_config import Gateway, SmarticoConfig, SmarticoFaults
from bridge.sim.smartico_traffic import Answer
from bridge.sim.smtp import SmtpSimulator
from bridge.sim.smtp_config import SmtpConfig, SmtpFaults
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
    "SendgridConfig",
    "SendgridFaults",
    "SendgridSimulator",
    "Sent",
    "SmarticoConfig",
    "SmarticoFaults",
    "SmarticoSimulator",
    "SmtpConfig",
    "SmtpFaults",
    "SmtpSimulator",
    "Verdict",
    "free_port",
    "judge",
]
