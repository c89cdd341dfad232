"""What can go wrong between the operator and the API server, and the sentence that tells a person."""

from typing import Final

import aiohttp
from kubernetes.aio.config import ConfigException
from kubernetes.aio.dynamic.exceptions import NotFoundError

from masktrain_operator.api.labels import CRD_NAME, POOL_CRD_NAME

from .client import ApiError, api_message

REFUSALS: Final = (ApiError, ConfigException, aiohttp.ClientError, TimeoutError, OSError)


def sentence(error: Exception) -> str:
    match error:
        case NotFoundError():
            return f"The cluster lacks CustomResourceDefinition {CRD_NAME} or {POOL_CRD_NAME}; install the chart's."
        case ApiError():
            return f"The API server refused: {api_message(error)}"
        case _:
            return f"The API server cannot be reached: {str(error) or type(error).__name__}"
