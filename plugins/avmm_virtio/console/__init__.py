"""The console device."""
