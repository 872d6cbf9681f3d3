"""The recipes for clusters: what can be checked of them without a cluster."""

import json
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.cluster.kuberay import RAY_JOB

CLUSTERS = Path(__file__).parents[2] / "experiments" / "clusters"
SCHEMA = Path(str(find_spec("ray").submodule_search_locations[0])) / "autoscaler" / "ray-schema.json"
TAKEN_BY_RAY = {10001, 8265, 52365}  # client server, dashboard, its agent


def test_the_launcher_s_file_keeps_to_ray_s_schema_and_names_an_image_for_each_machine():
    config = yaml.safe_load((CLUSTERS / "aws-spot.yaml").read_text())
    jsonschema.validate(config, json.loads(SCHEMA.read_text()))
    assert all("ImageId" in kind["node_config"] for kind in config["available_node_types"].values())
    assert any("boto3" in command for command in config["head_setup_commands"])


def kubernetes_job():
    return yaml.safe_load((CLUSTERS / "kuberay-job.yaml").read_text())


def test_the_kubernetes_job_has_fields_of_kuberay_alone():
    jsonschema.Draft202012Validator.check_schema(RAY_JOB)
    jsonschema.validate(kubernetes_job(), RAY_JOB)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda job: job["spec"].update(shutdownAfterJobFinished=True), "shutdownAfterJobFinished"),
        (
            lambda job: job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
            "0 is not of type",
        ),
        (lambda job: job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0].pop("maxReplicas"), "'maxReplicas' is a required"),
        (lambda job: job["spec"]["rayClusterSpec"].update(authOptions={"mode": "tokens"}), "'tokens' is not one of"),
        (lambda job: job["metadata"].update(name="NAS_imagenet"), "does not match"),
    ],
)
def test_a_field_that_kuberay_would_drop_or_refuse_is_found(change, message):
    job = kubernetes_job()
    change(job)
    with pytest.raises(jsonschema.ValidationError, match=message):
        jsonschema.validate(job, RAY_JOB)


def test_the_kubernetes_job_has_what_its_pods_need():
    cluster = kubernetes_job()["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    for pod in (cluster["headGroupSpec"]["template"]["spec"], workers["template"]["spec"]):
        (container,) = pod["containers"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert container["workingDir"] and container["resources"]["limits"] == container["resources"]["requests"]
        assert all("sizeLimit" in volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume)
    assert any(toleration["key"] == "nvidia.com/gpu" for toleration in workers["template"]["spec"]["tolerations"])


@pytest.mark.parametrize("name", ["hosts.sh", "slurm.sbatch", "retrain.sbatch"])
def test_a_script_is_whole_and_its_ports_are_not_ray_s_own(name):
    text = (CLUSTERS / name).read_text()
    assert subprocess.run(["bash", "-n", str(CLUSTERS / name)], check=False).returncode == 0
    ranges = re.findall(r"--min-worker-port=(\d+) --max-worker-port=(\d+)", text)
    assert not any(int(low) <= port <= int(high) for low, high in ranges for port in TAKEN_BY_RAY)
