"""The notebook, executed as it is; and a kernel that is interrupted, and killed, in the middle of a search."""

import time
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "experiments" / "notebooks" / "first_front.ipynb"
SEARCH = 'import nas\nrun = nas.search("tiny", trials=6, workers=1, out="run", settings={"proxy.epochs": 12})'
LONG = 600


@pytest.mark.slow
def test_the_notebook_runs_from_the_search_to_a_network_in_bare_timm(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [str(cell.get("outputs", "")) for cell in notebook.cells]
    assert "networks" in outputs[5] and "image/png" in outputs[7] and "(1, 10)" in outputs[-1]
    assert "Traceback" not in "".join(outputs)


def told_by(client, text: str, *, until: str | None = None) -> tuple[str, str]:
    """All that a kernel prints while it runs `text`, up to a word if one is given, and the name of its error."""
    request, printed = client.execute(text), ""
    while True:
        message = client.get_iopub_msg(timeout=LONG)
        if message["parent_header"].get("msg_id") != request:
            continue
        content = message["content"]
        printed += content.get("text", "")
        if message["msg_type"] == "error":
            return printed, content["ename"]
        if (until and until in printed) or (message["msg_type"] == "status" and content["execution_state"] == "idle"):
            return printed, ""


@pytest.mark.slow
def test_a_search_in_a_kernel_that_is_interrupted_and_then_killed_goes_on(tmp_path):
    kernel, client = start_new_kernel(cwd=str(tmp_path))
    try:
        printed, _ = told_by(client, SEARCH, until="[1/6]")
        assert "[1/6]" in printed
        kernel.interrupt_kernel()
        time.sleep(1)
        kernel.interrupt_kernel()  # who is impatient loses no kernel
        assert "alive" in told_by(client, "print('alive')")[0] or "alive" in told_by(client, "print('alive')")[0]
        printed, _ = told_by(client, SEARCH, until="[3/6]")
        assert "continuing: " in printed
        kernel.shutdown_kernel(now=True)
    finally:
        client.stop_channels()
    kernel, client = start_new_kernel(cwd=str(tmp_path))
    try:
        printed, error = told_by(client, f"{SEARCH}\nprint(sorted(run.trials()['state']))")
        assert error == "" and "continuing: " in printed and printed.count("'complete'") + printed.count("'stopped'") == 6
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
