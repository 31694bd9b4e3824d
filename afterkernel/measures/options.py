"""The section of options of the measures: which ones, of which images, and the options of each."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from afterkernel.errors import UserError
from afterkernel.measures.measure import Measure
from afterkernel.options import option


@dataclasses.dataclass
class Measures:
    """Which measures are taken, and of which images; the options of every measure are added to these.

    The images are drawn only by `seed`, so that they are the same for all kernels and snapshots of a run.
    """

    names: list[str]
    num_images: int = option(
        1000, "number of test images for invariances and classifier errors; all if there are fewer", at_least=1
    )
    gram_images: int = option(
        500, "number of training images whose Gram matrix the other measures use; all if there are fewer", at_least=2
    )
    seed: int = option(0, "seed that chooses those images", at_least=0)
    per_layer: bool = option(False, "also measure the kernel of each layer")

    def chosen(self) -> list[Measure]:
        """The chosen measures, with their options."""
        return [kind(**_values(self, kind)) for name, kind in self.kinds().items() if name in self.names]

    def check(self) -> None:
        """Raise UserError for options of the measures that can't work."""
        for measure in self.chosen():
            measure.check()

    def check_classes(self) -> None:
        """Raise UserError for a measure that is not defined for several classes."""
        for measure in self.chosen():
            if not measure.several_classes:
                raise UserError(
                    f"measure.names holds {measure.name}, which is not declared to be defined for several classes: "
                    f"remove it, or set several_classes = True in {type(measure).__name__} if it is."
                )

    def check_images(self, height: int, width: int) -> None:
        """Raise UserError for options that can't work on images of this size in pixels."""
        for measure in self.chosen():
            measure.check_images(height, width)

    def warn_of_images(self, height: int, width: int) -> None:
        """Warn about options that have no effect on images of this size in pixels."""
        for measure in self.chosen():
            measure.warn_of_images(height, width)

    @property
    def needs_history(self) -> bool:
        """Whether a chosen measure needs the Gram matrices of earlier snapshots."""
        return any(measure.needs_history for measure in self.chosen())

    @property
    def member_classes(self) -> list[type]:
        """The classes of the chosen measures."""
        return [type(measure) for measure in self.chosen()]

    @property
    def inactive(self) -> frozenset[str]:
        """Options without effect: those of measures that are not chosen, and of samples that no chosen measure uses."""
        of_others = {
            field.name
            for name, kind in self.kinds().items()
            if name not in self.names
            for field in dataclasses.fields(kind)
        }
        chosen = self.chosen()
        looks_at = {"num_images": any(measure.of_test_images for measure in chosen)}
        looks_at |= {"gram_images": any(type(measure).of_sample is not Measure.of_sample for measure in chosen)}
        looks_at |= {"seed": any(looks_at.values()), "per_layer": bool(chosen)}
        return frozenset(of_others | {name for name, looked in looks_at.items() if not looked})

    @classmethod
    def kinds(cls) -> Mapping[str, type[Measure]]:
        """All measures by name."""
        raise TypeError("the measures are those of afterkernel.measures.MEASURES")


def section(kinds: Mapping[str, type[Measure]]) -> type[Measures]:
    """The dataclass that adds the options of the measures `kinds` to those of `Measures`."""
    return _section(tuple(kinds.items()))


@functools.cache
def _section(kinds: tuple[tuple[str, type[Measure]], ...]) -> type[Measures]:
    by_name = dict(kinds)
    by_default = [name for name, kind in kinds if kind.by_default]
    names = option(by_default, "what is measured of each kernel", choices=tuple(by_name), unordered=True)
    fields: list[tuple[str, Any, Any]] = [("names", "list[str]", names)]
    taken = {field.name for field in dataclasses.fields(Measures)}
    for _, kind in kinds:
        for field in dataclasses.fields(kind):
            if field.name in taken:
                raise UserError(f"measure.{field.name} is the option of two measures: rename that of {kind.__name__}.")
            taken.add(field.name)
            fields.append((field.name, field.type, copy.copy(field)))
    made = dataclasses.make_dataclass(
        "AllMeasures", fields, bases=(Measures,), namespace={"kinds": classmethod(lambda _: by_name)}
    )
    made.__doc__ = Measures.__doc__
    return made


def _values(options: Measures, kind: type[Measure]) -> dict[str, object]:
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(kind)}
