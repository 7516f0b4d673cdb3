"""vCPUs, the requests made of them, and the kicker."""
