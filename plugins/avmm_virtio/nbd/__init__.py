"""Disks of an NBD server (the NBD project's doc/proto.md): a client for the fixed newstyle handshake."""
