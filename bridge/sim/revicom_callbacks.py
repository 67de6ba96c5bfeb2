"""How the simulated provider posts callbacks: see `bridge.sim.callbacks`, which it shares with others.

From the provider's page: the body is always an array, login:password of the URL becomes Basic authorization,
and anything but 2xx is repeated every 5 minutes for 24 hours.
"""

from bridge.sim.callbacks import Batch, CallbackSender, Element, make_batch, split_credentials

__all__ = ["Batch", "CallbackSender", "Element", "make_batch", "split_credentials"]
