"""Every error avmm raises on purpose. Errors carry data; `str(error)` is one clear line."""

from __future__ import annotations

from errno import errorcode


class AvmmError(Exception):
    """The base of all errors avmm raises on purpose."""


class ConfigError(AvmmError):
    """A mistake in a machine's description: what, where, and what would be right.

    `place` is where the mistake stands: `guest.toml:12`, `--memory`, or empty when it has no place.
    `key` is the dotted name of the setting, or empty.
    """

    def __init__(self, message: str, *, place: str = "", key: str = "") -> None:
        super().__init__(": ".join(part for part in (place, key, message) if part))
        self.message, self.place, self.key = message, place, key


class LoadError(AvmmError):
    """A guest image that cannot be loaded: missing, truncated, too large or of another architecture."""


class FetchError(AvmmError):
    """A guest that cannot be brought from its archive: no network, a wrong hash or signature, a package that is not there."""


class LifecycleError(AvmmError):
    """An operation that the VM's state does not allow."""


class NotThere(AvmmError):
    """Something that was named and does not exist: a vCPU, a register, an interrupt input, an address."""


class PluginError(AvmmError):
    """A plugin that could not be found, imported or built, or that raised while the guest ran."""

    def __init__(self, plugin: str, message: str) -> None:
        super().__init__(f"{plugin}: {message}")
        self.plugin, self.message = plugin, message


class EngineError(AvmmError):
    """An engine that cannot be used here, or that met something it cannot go on from."""


class RequestError(AvmmError, ValueError):
    """A request outside the numbers that exist (section "VCPU Request Internals")."""


class UnhandledRequest(AvmmError):
    """A pending request that nobody handles: the vCPU could never enter the guest again (R-41b)."""

    def __init__(self, vcpu: int, request: str) -> None:
        super().__init__(f"vcpu {vcpu}: request {request} is pending, and neither avmm nor the architecture handles it")
        self.vcpu, self.request = vcpu, request


class VmFailed(AvmmError):
    """The VM ended because something in it failed; `__cause__` is the failure."""


class OperationRefused(AvmmError):
    """An operation on a VM or a vCPU that is refused: why, and with which errno the kernel's interface refuses it.

    `errno` is the number, `errno_name` its name (`EBUSY`), `reason` one line.
    """

    def __init__(self, errno: int, reason: str) -> None:
        self.errno, self.errno_name, self.reason = errno, errorcode[errno], reason
        super().__init__(f"{self.errno_name}: {reason}")


class NotApplicable(AvmmError):
    """A step of a transcript that says nothing here: an operation, or an argument of one, that does not exist."""


def first_failure(group: ExceptionGroup[Exception]) -> Exception:
    """The first failure in a group of groups."""
    first = group.exceptions[0]
    return first_failure(first) if isinstance(first, ExceptionGroup) else first
