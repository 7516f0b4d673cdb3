"""The host's side of a serial port: where a guest's bytes go, and where those for the guest come from."""
