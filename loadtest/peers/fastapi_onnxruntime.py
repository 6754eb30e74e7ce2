"""FastAPI with the model in its event loop, as in most tutorials."""

from __future__ import annotations

from fastapi import FastAPI, UploadFile

from loadtest.peers.classifier import Classifier

app = FastAPI()
classifier = Classifier()


@app.post("/classify")
async def classify(file: UploadFile) -> dict[str, str]:
    return {"label": classifier.label(await file.read())}
