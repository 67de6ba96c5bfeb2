"""A messaging bridge: what Smartico wants to send goes to a provider, what became of it goes back."""

__version__ = "1.0.1"
