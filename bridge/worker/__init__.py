"""The worker: claims due work in batches, performs the exchanges, lets the flows settle them.

One pump for each kind of work: sends (one a provider), the inbox, the reports, and the upkeep. No other queue, timer
or retry exists in the bridge.
"""
