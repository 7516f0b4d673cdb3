"""Records: data classes whose methods are inherited.

`@dataclass` writes the text of a class's methods and compiles it, whenever the module is imported: 0.4 ms a class, which fifty
classes made a sixth of the life of a guest that says hello.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from typing import ClassVar, dataclass_transform


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Record:
    """An immutable class of fields: annotated, with defaults and `field(default_factory=...)`, as in a data class.

    Two are equal when they are of one class with equal fields. `fields`, `replace` and `asdict` of `dataclasses` take it.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]
    __match_args__: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, object]] = {}
    """Of each field, in order; MISSING where there is none, or a factory."""
    _factories: ClassVar[dict[str, Callable[[], object]]] = {}

    def __init_subclass__(cls) -> None:
        dataclass(init=False, repr=False, eq=False)(cls)  # compiles nothing
        cls._defaults = {one.name: one.default for one in fields(cls)}
        cls._factories = {one.name: one.default_factory for one in fields(cls) if one.default_factory is not MISSING}

    def __init__(self, *values: object, **named: object) -> None:
        """Fields in order, then by name. TypeError unless each is given once, or has a default."""
        kept, names = self.__dict__, self.__match_args__
        kept.update(self._defaults)
        kept.update(zip(names, values))  # noqa: B905
        kept.update(named)
        if len(values) > len(names) or len(kept) > len(names) or not named.keys().isdisjoint(names[: len(values)]):
            raise TypeError(f"{type(self).__name__} takes each of its fields once ({', '.join(names)}), and nothing else")
        for name, make in self._factories.items():
            if kept[name] is MISSING:
                kept[name] = make()
        if MISSING in kept.values():
            missing = ", ".join(name for name in names if kept[name] is MISSING)
            raise TypeError(f"{type(self).__name__} lacks {missing}")

    def _values(self) -> dict[str, object]:
        return {name: self.__dict__[name] for name in self.__match_args__}

    def __repr__(self) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in self._values().items())})"

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, Record) and type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self._values().values()))

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")
