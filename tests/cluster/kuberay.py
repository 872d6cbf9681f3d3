"""The fields of a RayJob that ours may have, as a JSON schema in which every unknown field is an error.

Names and types are those of KubeRay's API reference, ray.io/v1 (docs.ray.io, "KubeRay CRD API reference"; `rayjob_types.go`,
`raycluster_types.go` of its operator), and of Kubernetes' core/v1. A field that Kubernetes doesn't know is dropped in silence.
"""

WHOLE = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
TEXT = {"type": "string"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
QUANTITY = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?([EPTGMK]i|[numkMGTPE])?$"}
NAME = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}  # a label of DNS, RFC 1123


def only(*required, **fields):
    """An object with these fields and no others."""
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def many(item):
    return {"type": "array", "items": item, "minItems": 1}


CLAIM = only("claimName", claimName=NAME, readOnly={"type": "boolean"})
VOLUME = only("name", name=NAME, persistentVolumeClaim=CLAIM, emptyDir=only(sizeLimit=QUANTITY, medium=TEXT))
SECRET_KEY = only("name", "key", name=NAME, key=TEXT, optional={"type": "boolean"})
VARIABLE = only("name", name=TEXT, value=TEXT, valueFrom=only("secretKeyRef", secretKeyRef=SECRET_KEY))
QUANTITIES = {"type": "object", "additionalProperties": QUANTITY}
CONTAINER = only(
    "name", "image", name=NAME, image=TEXT, workingDir={"type": "string", "pattern": "^/"}, env=many(VARIABLE),
    resources=only(limits=QUANTITIES, requests=QUANTITIES),
    volumeMounts=many(only("name", "mountPath", name=NAME, mountPath={"type": "string", "pattern": "^/[^:]*$"})),
)  # fmt: skip
TOLERATION = only(
    key=TEXT,
    operator={"enum": ["Exists", "Equal"]},
    value=TEXT,
    effect={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
)
POD = only(
    "containers",
    containers=many(CONTAINER),
    volumes=many(VOLUME),
    tolerations=many(TOLERATION),
    terminationGracePeriodSeconds=WHOLE,
)
TEMPLATE = only("spec", metadata={"type": "object"}, spec=POD)
CLUSTER = only(
    "headGroupSpec", rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"}, enableInTreeAutoscaling={"type": "boolean"},
    authOptions=only(mode={"enum": ["disabled", "token"]}, secretName=NAME, enableK8sTokenAuth={"type": "boolean"}),
    headGroupSpec=only("template", rayStartParams=TEXTS, template=TEMPLATE),
    workerGroupSpecs=many(only(
        "groupName", "minReplicas", "maxReplicas", "template", groupName=NAME, replicas=WHOLE, minReplicas=WHOLE,
        maxReplicas=WHOLE, numOfHosts=WHOLE, idleTimeoutSeconds=WHOLE, rayStartParams=TEXTS, template=TEMPLATE,
    )),
)  # fmt: skip
RAY_JOB = only(
    "apiVersion", "kind", "metadata", "spec", apiVersion={"const": "ray.io/v1"}, kind={"const": "RayJob"},
    metadata=only("name", name={**NAME, "maxLength": 47}, namespace=NAME, labels=TEXTS, annotations=TEXTS),
    spec=only(
        "entrypoint", "rayClusterSpec", entrypoint=TEXT, shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=WHOLE, activeDeadlineSeconds=WHOLE, backoffLimit=WHOLE, suspend={"type": "boolean"},
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]}, runtimeEnvYAML=TEXT,
        rayClusterSpec=CLUSTER,
    ),
)  # fmt: skip
