"""`bridge bench`: how fast this machine's bridge is, measured from outside."""
