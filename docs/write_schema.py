"""Write the JSON schema of ``manifest.json`` beside this file."""

import json
from pathlib import Path

from hwcomp.manifest import Manifest

PATH = Path(__file__).with_name("manifest.schema.json")


def main() -> None:
    """Write the schema."""
    PATH.write_text(json.dumps(Manifest.model_json_schema(), indent=2) + "\n")


if __name__ == "__main__":
    main()
