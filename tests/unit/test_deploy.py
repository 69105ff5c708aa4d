"""The application file for Ray Serve LLM says what it is meant to say, by names that Ray knows.

Ray ignores a key that it does not know, so that a wrong name would be noticed late.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from tests.unit.test_docs import parse

FILE = Path(__file__).parents[2] / "deploy" / "ray_serve_llm.yaml"
# The names of Ray 2.60 (ServeDeploySchema, ServeApplicationSchema, LLMServingArgs, LLMConfig), and the types of values.
KEYS: dict[str, Any] = {
    "http_options": {"host": str, "port": int},
    "applications": {
        "name": str,
        "route_prefix": str,
        "import_path": str,
        "args": {
            "llm_configs": {
                "model_loading_config": {"model_id": str, "model_source": str},
                "accelerator_type": str,
                "deployment_config": {"num_replicas": int, "max_ongoing_requests": int},
                "engine_kwargs": {"max_model_len": int, "enable_prefix_caching": bool, "stream_interval": int},
            }
        },
    },
}


def assert_has(content: Any, keys: Any) -> None:
    if isinstance(content, list):
        [content] = content
    if not isinstance(keys, dict):
        assert type(content) is keys
        return
    assert content.keys() == keys.keys()
    for name in keys:
        assert_has(content[name], keys[name])


def test_the_application_has_the_keys_that_ray_reads() -> None:
    content = yaml.safe_load(FILE.read_text())
    assert_has(content, KEYS)
    [application] = content["applications"]
    assert application["import_path"] == "ray.serve.llm:build_openai_app"


def test_its_head_names_the_file_and_commands_that_exist() -> None:
    text = FILE.read_text()
    head = [line[1:].strip() for line in text.splitlines() if line.startswith("#  ")]
    serve, generate = (next(line for line in head if line.startswith(word)) for word in ("serve", "selfinstruct"))
    assert (FILE.parents[1] / serve.split()[2]).samefile(FILE)
    assert parse(generate).name == "generate"
    [port] = re.findall(r"HEAD:(\d+)/v1", generate)
    content = yaml.safe_load(text)
    [application] = content["applications"]
    [model] = application["args"]["llm_configs"]
    assert int(port) == content["http_options"]["port"]
    words = shlex.split(generate)
    assert words[words.index("--model") + 1] == model["model_loading_config"]["model_id"]
    most = model["deployment_config"]["num_replicas"] * model["deployment_config"]["max_ongoing_requests"]
    assert int(words[words.index("--max-in-flight") + 1]) == most
