"""Nobody is told what is computed here."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

CODE = """
import sys
import llmatic.engines.sentence
import openvino
from openvino.tools.ovc import telemetry_utils
print(telemetry_utils.tm.__name__, [name for name, it in sys.modules.items() if "openvino_telemetry" in name and it])
"""


@pytest.mark.skipif(find_spec("openvino") is None, reason="needs OpenVINO")
def test_openvino_reports_to_nobody() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "openvino.tools.ovc.telemetry_stub []"
