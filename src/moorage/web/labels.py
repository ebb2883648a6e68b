"""What telemetry is called: as the templates of its devices have it, else by its name."""

from __future__ import annotations

from collections.abc import Sequence

from moorage.analytics.explorer import Line, Measure, Total
from moorage.analytics.rollups import Key
from moorage.fleet.model import DeviceRecord, TemplateId
from moorage.fleet.templates import TemplateService

__all__ = ["Labels"]


class Labels:
    """Of what `devices` send."""

    def __init__(self, templates: TemplateService, devices: Sequence[DeviceRecord]) -> None:
        # Without their component, for lists that name it beside them.
        self.alone: dict[Key, str] = {}
        self._whole: dict[Key, str] = {}
        for template in sorted({each.template for each in devices if each.template}):
            interface = templates.interface_of(TemplateId(template))
            if interface is None:
                continue
            for telemetry in interface.telemetry:
                self.alone["", telemetry.name] = self._whole["", telemetry.name] = telemetry.label
            for component in interface.components:
                for telemetry in component.schema.telemetry:
                    self.alone[component.name, telemetry.name] = telemetry.label
                    self._whole[component.name, telemetry.name] = f"{component.label}: {telemetry.label}"

    def of(self, measure: Measure) -> str:
        return self._whole.get(measure.key, measure.label)

    def of_line(self, line: Line, *, is_one_measure: bool) -> str:
        if not line.of:
            return self.of(line.measure)
        return line.of if is_one_measure else f"{self.of(line.measure)}, {line.of}"

    def of_total(self, total: Total) -> str:
        return total.of or self.of(total.measure)
