"""The clouds' public price lists, each converted to the parts of the kit's table."""

import json
import urllib.error
import urllib.request
from typing import Any

from llmops_kit.core.errors import KitError

_TIMEOUT_SECONDS = 120


def fetch(url: str) -> dict[str, Any]:
    """Returns a document of a price list.

    Raises:
        KitError: it can't be fetched, or is not a JSON object.
    """
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:
            document = json.load(answer)
    except (urllib.error.URLError, TimeoutError) as e:
        raise KitError(
            f"the price list can't be fetched: {getattr(e, 'reason', e)}",
            where=url,
            fix="check this machine's connection; `llmops plan prices show` shows the kit's own table",
        ) from e
    except ValueError as e:
        raise KitError(f"the price list is not JSON: {e}", where=url) from e
    if not isinstance(document, dict):
        raise KitError("the price list is not a JSON object", where=url)
    return document
