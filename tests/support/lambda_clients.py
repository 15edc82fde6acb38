"""The clients that people have for AWS Lambda: boto3, and the command of AWS."""

import asyncio
import functools
import json
import os
import sys
from pathlib import Path

import boto3
from botocore.config import Config

REGION = "eu-central-1"
KEY = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}


CONFIG = {"retries": {"total_max_attempts": 1}, "read_timeout": 300}


class Lambda:
    """boto3's client, in threads."""

    def __init__(self, url, **config):
        self.client = boto3.client(
            "lambda",
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id=KEY["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEY["AWS_SECRET_ACCESS_KEY"],
            config=Config(**CONFIG | config),
        )

    async def invoke(self, function, payload=b"", **options):
        """What boto3 gives, with the payload read."""
        call = functools.partial(
            self.client.invoke, FunctionName=function, Payload=payload, **options
        )
        answer = await asyncio.to_thread(call)
        return {**answer, "Payload": await asyncio.to_thread(answer["Payload"].read)}


async def aws_invoke(url, folder, function, payload, *options):
    """`aws lambda invoke`: what it prints, and what it writes to its file."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("aws")),
        *("lambda", "invoke", "--endpoint-url", url, "--payload", json.dumps(payload)),
        *("--function-name", function, "--region", REGION, *options, "out.json"),
        cwd=folder,
        env={**os.environ, **KEY, "AWS_CONFIG_FILE": str(folder / "none")},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        printed, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"aws ended with exit status {process.returncode}")
    return json.loads(printed), (folder / "out.json").read_bytes()
