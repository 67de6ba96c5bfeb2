"""The flows: one module for each thing the service does. A flow loads, asks the pure middle, stores.

Flows know the store and the pure modules; they perform no exchange with a peer and know no HTTP server.
"""
