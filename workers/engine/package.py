"""A model package: a folder with `model.onnx`, `model.json` and a few golden pictures.

The ONNX file takes RGB pixels, uint8 of shape (n, side, side, 3), and gives float32 scores of shape
(n, classes). Normalisation and activation are inside. A second output may be an embedding: float32
of shape (n, size). `workers.models` makes packages of other models.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from shared.errors import ModelError
from shared.settings import Settings
from workers.decode.preprocessing import PREPROCESSING_VERSION, Preset
from workers.engine.model import Model

#: The newest format of `model.json` that this release reads.
_FORMAT = 2

DESCRIPTION_FILE, MODEL_FILE = "model.json", "model.onnx"

#: Names of packages. They become folders, and parts of Redis keys.
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

_FILE_NAME = re.compile(r"\w[\w.-]*")

Activation = Literal["softmax", "sigmoid", "none"]

#: Names of packages in a message.
_SHOWN = 8

Score = Annotated[float, Field(ge=0, le=1)]

#: Of a label, if several may be right for a picture and the package has no threshold: it is more
#: probable that the label is right than that it is not.
_USUAL_THRESHOLD = 0.5


class _Entry(BaseModel):
    # Later releases may write more.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Source(_Entry):
    """What a package was made of."""

    kind: str  #: `onnx`, `huggingface`, `torchvision` or `timm`.
    file: str = ""  #: The name of the file or folder.
    digest: str = ""  #: SHA-256 of the weights, hex.
    architecture: str = ""


class Embedding(_Entry):
    """An output of `model.onnx` beside the scores: numbers that are close for similar pictures."""

    output: str  #: Its name in the file that the package was made of.
    size: int = Field(ge=1)  #: How many numbers.


class Golden(_Entry):
    """A picture and what the model must answer."""

    file: str  #: Its name in the package.
    scores: dict[int, float]  #: The best scores, by class id.
    embedding: str = ""  #: float16, little-endian, as base64; empty without `Package.embedding`.

    @field_validator("file")
    @classmethod
    def _is_in_the_package(cls, value: str) -> str:
        if not _FILE_NAME.fullmatch(value):
            raise ValueError(f"{value!r} is not the name of a file in the package")
        return value


class Package(_Entry):
    """The content of `model.json`."""

    format: Literal[1, 2] = 1  #: 2 if it has thresholds, which readers of 1 would not see.
    name: str
    labels: tuple[str, ...]  #: By class id.
    preset: Preset
    #: What makes scores of the network's output. It is already part of `model.onnx`.
    activation: Activation
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)  #: Part of `model.onnx`, too.
    #: The score that a label needs. The second one is for the labels that the first does not name.
    thresholds: dict[str, Score] = {}
    threshold: Score | None = None
    embedding: Embedding | None = None
    #: Of the weights. Engines round otherwise where they are float16.
    numbers: Literal["float32", "float16"] = "float32"
    source: Source
    notice: str = ""  #: A remark for users of the results.
    accuracy: float | None = None  #: The share of right labels that somebody has measured.
    graph_digest: str  #: SHA-256 of `model.onnx` without the entry MODEL_ENTRY, hex.
    model_digest: str  #: SHA-256 of `model.onnx`, hex.
    golden: tuple[Golden, ...]

    @model_validator(mode="after")
    def _is_whole(self) -> Package:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"the name {self.name!r} has other signs than a-z, 0-9, `.`, `-`, `_`")
        if unknown := sorted(set(self.thresholds) - set(self.labels)):
            raise ValueError(f"there is a threshold of {unknown[0]!r}, which is no label")
        for golden in self.golden:
            if not golden.scores or not set(golden.scores) <= set(range(len(self.labels))):
                raise ValueError(f"{golden.file} must have scores of some of the labels")
        return self

    @field_validator("format", mode="before")
    @classmethod
    def _is_known(cls, value: object) -> object:
        if isinstance(value, int) and value > _FORMAT:
            raise ValueError(
                f"a later release has made this package: it has format {value}, and this release"
                f" reads up to {_FORMAT}"
            )
        return value

    @property
    def several(self) -> bool:
        """Whether a picture may have several labels, or none."""
        return self.activation == "sigmoid"

    @property
    def version(self) -> str:
        """Differs if results may differ."""
        meaning = self.model_dump_json(include={"labels", "preset", "activation", "graph_digest"})
        # A package without thresholds has the version that it had before there were any.
        if self.thresholds or self.threshold is not None:
            meaning += str(self._thresholds())
        # A worker of an earlier release loads the package and gives no embedding.
        if self.embedding:
            meaning += f"embedding {self.embedding.size}"
        digest = hashlib.sha256(meaning.encode()).hexdigest()
        return f"{self.name}-{digest[:12]}-p{PREPROCESSING_VERSION}"

    @property
    def model(self) -> Model:
        return Model(
            name=self.name,
            version=self.version,
            weights=self.source.file,
            weights_digest=self.source.digest or self.graph_digest,
            labels=self.labels,
            preset=self.preset,
            notice=self.notice,
            activation=self.activation,
            several=self.several,
            thresholds=self._thresholds(),
            temperature=self.temperature,
            embedding=self.embedding.size if self.embedding else 0,
        )

    def _thresholds(self) -> tuple[float, ...]:
        """By class id; empty if the best label is always given."""
        usual = self.threshold
        if usual is None:
            usual = _USUAL_THRESHOLD if self.several else 0.0
        every = tuple(self.thresholds.get(label, usual) for label in self.labels)
        return every if self.several or any(every) else ()


def packages_folder(settings: Settings) -> Path:
    return settings.models_dir / "packages"


def packages_hint(settings: Settings) -> str:
    """A sentence for an error about MODEL: which packages there are. Empty if there are none.

    A misspelled name of a package looks like a network of torchvision.
    """
    folder = packages_folder(settings)
    names = sorted(path.parent.name for path in folder.glob(f"[!.]*/{DESCRIPTION_FILE}"))
    more = ", …" if len(names) > _SHOWN else ""
    return f" The packages in {folder} are {', '.join(names[:_SHOWN])}{more}." if names else ""


def find_package(settings: Settings) -> Path | None:
    """The folder of the package that MODEL names, by its name or by a path. None if it names none.

    Raises ModelError if a path leads to no package, or if other settings do not fit a package.
    """
    if "/" in settings.model:
        folder = Path(settings.model)
        if not (folder / DESCRIPTION_FILE).is_file():
            raise ModelError(
                f"MODEL={folder} is not a model package: it has no {DESCRIPTION_FILE}."
            )
    else:
        folder = packages_folder(settings) / settings.model
        if not (folder / DESCRIPTION_FILE).is_file():
            return None
    for name, value, unset in (
        ("MODEL_WEIGHTS", settings.model_weights, "DEFAULT"),
        ("MODEL_LABELS", settings.model_labels, None),
    ):
        if value != unset:
            raise ModelError(
                f"MODEL={settings.model} is a model package, which has weights and labels of its"
                f" own. Remove {name}={value}."
            )
    if settings.engine in ("torch", "torch-cpu"):
        raise ModelError(
            f"ENGINE={settings.engine} cannot load the model package MODEL={settings.model}."
            " Remove ENGINE."
        )
    return folder


def read_package(folder: Path) -> Package:
    """Read `model.json`. Raises ModelError if it cannot be read or says something impossible."""
    path = folder / DESCRIPTION_FILE
    try:
        return validated(path.read_bytes(), str(path))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error


def validated(content: bytes | dict[str, Any], origin: str) -> Package:
    """The package that JSON or its values describe. Raises ModelError if it is impossible."""
    try:
        if isinstance(content, bytes):
            return Package.model_validate_json(content)
        return Package.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise ModelError(f"{origin}: {place + ': ' if place else ''}{message}.") from error


def check_file(folder: Path, package: Package) -> Path:
    """The path of `model.onnx`. Raises ModelError if it is another file than `model.json` means."""
    path = folder / MODEL_FILE
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        digest = ""
    if digest != package.model_digest:
        raise ModelError(
            f"{path} is not the file that {DESCRIPTION_FILE} describes."
            " Make the package again, or copy it once more."
        )
    return path
