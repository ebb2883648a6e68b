"""A deployment manifest of one module, as pages and forms of tests take it."""

from __future__ import annotations

from typing import Any

__all__ = ["CONTENT"]

CONTENT: dict[str, Any] = {
    "modulesContent": {
        "$edgeAgent": {
            "properties.desired": {
                "schemaVersion": "1.1",
                "runtime": {"type": "docker", "settings": {}},
                "systemModules": {
                    "edgeAgent": {"type": "docker", "settings": {"image": "example/agent:1"}},
                    "edgeHub": {"type": "docker", "settings": {"image": "example/hub:1"}},
                },
                "modules": {
                    "filter": {
                        "status": "running",
                        "restartPolicy": "always",
                        "settings": {"image": "example/filter:2"},
                    }
                },
            }
        },
        "$edgeHub": {"properties.desired": {"schemaVersion": "1.1", "routes": {}}},
        "filter": {"properties.desired": {"limit": 5}},
    }
}
