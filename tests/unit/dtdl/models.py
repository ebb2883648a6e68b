"""Models for tests: those that come with the program, and the shortest ones that say one thing."""

import json
from pathlib import Path
from typing import Any

import moorage.fleet

FOLDER = Path(moorage.fleet.__file__).parent / "models"


def shipped(model_id: str) -> Any:
    """By the path convention: `dtmi/com/example/thermostat-1.json`. None for what does not come with the program."""
    path = FOLDER / (model_id.lower().replace(":", "/").replace(";", "-") + ".json")
    return json.loads(path.read_text()) if path.is_file() else None


def interface(*contents: Any, name: str = "Pump", **members: Any) -> dict[str, Any]:
    return {
        "@context": ["dtmi:dtdl:context;2", "dtmi:iotcentral:context;2"],
        "@id": f"dtmi:com:example:{name};1",
        "@type": "Interface",
        "contents": list(contents),
        **members,
    }


def telemetry(name: str = "speed", schema: Any = "double", **members: Any) -> dict[str, Any]:
    return {"@type": "Telemetry", "name": name, "schema": schema, **members}


def component(name: str, schema: Any) -> dict[str, Any]:
    return {"@type": "Component", "name": name, "schema": schema}
