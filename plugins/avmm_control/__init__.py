"""The control API: running VMs listed, inspected and steered over HTTP, on a Unix socket or, with a token, on TCP."""
