"""The socket device."""
