"""A mogao model inside other people's programs.

In: the plug-in interfaces of other programs. Out: what they load. Importing this package needs none
of those programs.
"""

from __future__ import annotations

from typing import Any


def lmms_models() -> Any:
    """Return what lmms-eval registers: the entry point of its group `lmms_eval.models`.

    Its usual requests are messages of a chat, `--force_simple` makes them a text with pictures.
    """
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(
        model_id="mogao",
        simple_class_path="mogao.bridges.lmms.SimpleMogao",
        chat_class_path="mogao.bridges.lmms.ChatMogao",
    )
