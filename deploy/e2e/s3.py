"""The S3 server of `make e2e`, as seen from the host."""
import time

import boto3
import botocore.config
import botocore.exceptions

BUCKET = "headstart"
# Answers after a failure: a server that starts, one that is slow.
CONFIG = botocore.config.Config(connect_timeout=5, read_timeout=30, retries={"max_attempts": 3})


class Store:
    def __init__(self, address):
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://{address}:5000",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "e2e",
            "AWS_SECRET_ACCESS_KEY": "e2e",
        }
        self.client = boto3.client(
            "s3", endpoint_url=self.environment["AWS_ENDPOINT_URL"], region_name="us-east-1",
            aws_access_key_id="e2e", aws_secret_access_key="e2e", config=CONFIG,
        )

    def make_bucket(self, patience):
        """Makes the bucket, as soon as the server answers."""
        deadline = time.monotonic() + patience
        while True:
            try:
                self.client.create_bucket(Bucket=BUCKET)
                return
            except botocore.exceptions.EndpointConnectionError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.2)

    def upload(self, folder, prefix):
        """Uploads every file of a folder; returns their number."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in files:
            self.client.upload_file(str(path), BUCKET, f"{prefix}/{path.relative_to(folder)}")
        return len(files)

    def keys(self, prefix):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def read(self, key):
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def remove(self, prefix):
        for key in self.keys(prefix):
            self.client.delete_object(Bucket=BUCKET, Key=key)
