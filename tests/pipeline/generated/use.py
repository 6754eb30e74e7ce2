"""Classifies, submits, waits and reads with the generated client. A test runs it."""

from __future__ import annotations

import json
import sys
from io import BytesIO
from pathlib import Path

from image_classifier_client import Client
from image_classifier_client.api.classify import classify
from image_classifier_client.api.jobs import create_job, get_job, list_jobs, put_part
from image_classifier_client.api.model import list_labels
from image_classifier_client.api.results import get_results
from image_classifier_client.models import (
    Classification,
    ClassifyForm,
    JobList,
    JobSchema,
    LabelList,
    OpenedJob,
    OpenRequest,
    Page,
    PartForm,
    PartSchema,
    SubmitForm,
)
from image_classifier_client.types import File

address, path = sys.argv[1:]


def picture() -> File:
    return File(BytesIO(Path(path).read_bytes()), "picture.jpg", "image/jpeg")


with Client(address) as client:
    one = classify.sync(client=client, body=ClassifyForm(file=picture()), top_k=1)
    assert isinstance(one, Classification), one
    body = classify.sync(client=client, body=picture())
    assert isinstance(body, Classification), body

    job = create_job.sync(client=client, body=SubmitForm(files=[picture(), picture()]))
    assert isinstance(job, JobSchema), job
    ended = get_job.sync(job.id, client=client, wait=30)
    assert isinstance(ended, JobSchema), ended
    page = get_results.sync(job.id, client=client)
    assert isinstance(page, Page), page

    opened = create_job.sync(client=client, body=OpenRequest(total=1))
    assert isinstance(opened, OpenedJob), opened
    part = put_part.sync(opened.job.id, 0, client=client, body=PartForm(files=[picture()]))
    assert isinstance(part, PartSchema), part

    listed = list_jobs.sync(client=client, limit=2)
    assert isinstance(listed, JobList), listed
    labels = list_labels.sync(client=client)
    assert isinstance(labels, LabelList), labels

best = one.predictions[0]
print(
    json.dumps(
        {
            "label": best.class_name,
            "named": labels.labels[best.class_id].name,
            "state": ended.state.value,
            "labels": [item.predictions[0].class_name for item in page.items],
            "newest": [each.id for each in listed.jobs] == [opened.job.id, job.id],
        }
    )
)
