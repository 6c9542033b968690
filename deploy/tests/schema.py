"""Are the manifests what Kubernetes' own schemas allow? Unknown fields are errors."""
import functools
import json

import kubernetes_validate
from kubernetes_validate import utils

from manifests import called

# The oldest version that is still widely run, and a recent one.
VERSIONS = ("1.31", "1.35")

# The library reads its 5 MB of definitions anew for every document.
utils.schema_contents = functools.lru_cache(maxsize=None)(utils.schema_contents)


@functools.lru_cache(maxsize=None)
def complaint(text, version):
    """What the schema of a version says about one document, or None."""
    try:
        kubernetes_validate.validate(json.loads(text), version, strict=True)
    except kubernetes_validate.ValidationError as error:
        where = ".".join(str(part) for part in error.absolute_path)
        return f"{where or 'document'}: {error.message[:300]}"
    except (kubernetes_validate.SchemaNotFoundError, kubernetes_validate.InvalidSchemaError) as error:
        return error.message
    return None


def problems(documents):
    for document in documents:
        text = json.dumps(document, sort_keys=True)
        for version in VERSIONS:
            found = complaint(text, version)
            if found:
                yield f"{called(document)}: Kubernetes {version}: {found}"
