"""The object store honours what checkpoints rely on."""

from collections.abc import Iterator

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, HTTPClientError
from mypy_boto3_s3 import S3Client

from devcluster.cluster import Cluster
from devcluster.waiting import wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture
def store(cluster: Cluster) -> Iterator[S3Client]:
    keys = cluster.s3_keys
    client = boto3.client(
        "s3",
        endpoint_url=cluster.s3_endpoint,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        region_name="us-east-1",
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            retries={"total_max_attempts": 1},
        ),
    )
    yield client
    client.close()


def test_conditional_writes(store: S3Client) -> None:
    store.create_bucket(Bucket="conditions")
    tag = store.put_object(Bucket="conditions", Key="claim", Body=b"first", IfNoneMatch="*")["ETag"]
    with pytest.raises(ClientError, match="PreconditionFailed"):
        store.put_object(Bucket="conditions", Key="claim", Body=b"second", IfNoneMatch="*")
    store.put_object(Bucket="conditions", Key="claim", Body=b"second", IfMatch=tag)
    with pytest.raises(ClientError, match="PreconditionFailed"):
        store.put_object(Bucket="conditions", Key="claim", Body=b"third", IfMatch=tag)
    assert store.get_object(Bucket="conditions", Key="claim")["Body"].read() == b"second"


def test_objects_outlive_an_outage(cluster: Cluster, store: S3Client) -> None:
    store.create_bucket(Bucket="outage")
    store.put_object(Bucket="outage", Key="kept", Body=b"kept")
    cluster.daemons.kill("versitygw")
    with pytest.raises((EndpointConnectionError, HTTPClientError)):
        store.list_buckets()
    cluster.daemons.restart("versitygw")
    wait_until(lambda: _answers(store), "the object store to answer", seconds=10)
    assert store.get_object(Bucket="outage", Key="kept")["Body"].read() == b"kept"


def _answers(store: S3Client) -> bool:
    try:
        store.list_buckets()
    except HTTPClientError:
        return False
    return True
