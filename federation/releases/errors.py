"""What can be wrong with a release or its registry.

ReleaseError
├── ReleaseNotFound        no release, or more than one, goes by that reference
├── RegistryUnavailable    MLflow cannot be reached or refuses
└── ReleaseRefused         the folder is not what its manifest says, or not what may be served
    ├── BadManifest        manifest.json is missing, malformed or not what its digest says
    ├── UnsafePath         a link, a special file, or a path that leads out of the folder
    ├── WrongFiles         a file is missing, or there is one that the manifest does not name
    ├── FileChanged        a file's bytes are not those that were released
    ├── NotSafetensors     a weights file is anything else, a pickle for one
    ├── WrongShape         a tensor is missing, unexpected, or has another shape or type than it must
    ├── NotFinite          a tensor holds NaN or infinity
    ├── NormTooLarge       a tensor is larger than any training makes it
    ├── WrongBase          it was trained on another base model
    ├── RankTooLarge       its LoRA's rank is above what is served
    ├── ModuleRefused      its LoRA changes modules that are not served
    └── TooLarge           it has more bytes, cohorts or soft prompt tokens than are taken
"""

from __future__ import annotations

__all__ = [
    "BadManifest",
    "FileChanged",
    "ModuleRefused",
    "NormTooLarge",
    "NotFinite",
    "NotSafetensors",
    "RankTooLarge",
    "RegistryUnavailable",
    "ReleaseError",
    "ReleaseNotFound",
    "ReleaseRefused",
    "TooLarge",
    "UnsafePath",
    "WrongBase",
    "WrongFiles",
    "WrongShape",
]


class ReleaseError(Exception):
    """Base of every error here; its message is meant for people: what, why and what to do."""


class ReleaseNotFound(ReleaseError):
    """No release, or more than one, goes by the reference."""


class RegistryUnavailable(ReleaseError):
    """MLflow cannot be reached or refuses."""


class ReleaseRefused(ReleaseError):
    """The folder is not what its manifest says, or not what may be served."""


class BadManifest(ReleaseRefused):
    """The manifest is missing, malformed or not what its digest says."""


class UnsafePath(ReleaseRefused):
    """A link, a special file, or a path that leads out of the folder."""


class WrongFiles(ReleaseRefused):
    """A file is missing, or there is one that the manifest does not name."""


class FileChanged(ReleaseRefused):
    """A file's bytes are not those that were released."""


class NotSafetensors(ReleaseRefused):
    """A weights file is anything but safetensors."""


class WrongShape(ReleaseRefused):
    """A tensor is missing, unexpected, or has another shape or type than it must."""


class NotFinite(ReleaseRefused):
    """A tensor holds NaN or infinity."""


class NormTooLarge(ReleaseRefused):
    """A tensor is larger than any training makes it."""


class WrongBase(ReleaseRefused):
    """The release was trained on another base model."""


class RankTooLarge(ReleaseRefused):
    """The LoRA's rank is above what is served."""


class ModuleRefused(ReleaseRefused):
    """The LoRA changes modules that are not served."""


class TooLarge(ReleaseRefused):
    """The release has more bytes, cohorts or soft prompt tokens than are taken."""
